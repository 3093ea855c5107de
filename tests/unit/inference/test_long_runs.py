"""A run that takes long holds nobody up: it leaves the event loop, and ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gyrostat_inference.domain.errors import RunTooLong
from gyrostat_inference.domain.live import LoadedVersion, live_model
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.usecases.predict import Predict
from gyrostat_inference.usecases.turns import INLINE_S
from support.live_models import KEY, ONE_IN_ONE_OUT, a_call, a_plan, a_version, live
from support.predicting import Predicting


class Endless:
    """Runs until it is stopped: after `within_s`, which it does not wait for, or when nobody waits any more."""

    signature = ONE_IN_ONE_OUT

    def __init__(self, at_last: bool) -> None:
        self.at_last = at_last
        self.limits: list[float | None] = []
        self.threads: list[threading.Thread] = []
        self.left = threading.Event()

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        self.limits.append(within_s)
        self.threads.append(threading.current_thread())
        if within_s is not None:
            raise RunTooLong("flights:4 did not come to an end")
        if self.at_last:
            return [np.ones((2, 1), np.float32)]
        assert gone is not None
        while not gone():
            threading.Event().wait(0.001)
        self.left.set()
        raise RunTooLong("flights:4 did not come to an end")


def predicting(scorer: Endless, **plan: Any) -> tuple[Predict, LoadedVersion]:
    """The champion, version 4, is the scorer."""
    made = a_plan(**plan)
    version = LoadedVersion("flights", a_version(4), scorer, Keeping({}, {}, KEY), alone="")
    return Predicting(live_model(made, {**live(made).loaded, 4: version}, {})).predict, version


async def test_a_small_request_may_hold_up_the_others_once_and_shortly():
    scorer = Endless(at_last=True)
    predict, version = predicting(scorer)
    assert (await predict.answer(a_call(rows=2))).version == 4
    assert scorer.limits == [INLINE_S, None]
    assert version.counters.slow
    await predict.answer(a_call(rows=2))
    assert scorer.limits == [INLINE_S, None, None]
    for _ in range(14):
        await predict.answer(a_call(rows=2))
    assert not version.counters.slow, "sixteen short ones in a row: it was no fault of the graph"
    await predict.answer(a_call(rows=2))
    assert scorer.limits[17:] == [INLINE_S, None]
    here = threading.current_thread()
    assert [thread is here for thread in scorer.threads] == [True, *[False] * 16, True, False]


async def test_a_run_for_which_nobody_waits_any_more_is_stopped():
    scorer = Endless(at_last=False)
    predict, _ = predicting(scorer)
    call = asyncio.create_task(predict.answer(a_call(rows=2)))
    while len(scorer.limits) < 2:  # noqa: ASYNC110 - it is in its thread
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(scorer.left.wait, 30)
