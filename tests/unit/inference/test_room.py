"""Room in the spool: how much is kept while it fills, and who waits for it."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.domain.errors import SpoolFull
from gyrostat_inference.domain.plan import ServingSpec
from gyrostat_inference.domain.pressure import SAMPLED_FROM, kept_share
from gyrostat_inference.domain.routing import sampled
from gyrostat_inference.usecases.predict import Logging
from gyrostat_inference.usecases.room import MEASURED_S, Held, RoomQueue
from support.live_models import a_call, a_plan, a_shadow
from support.predicting import Bench
from support.waiting import eventually


@given(st.floats(0, 2), st.floats(0, 2))
def test_the_share_falls_as_the_spool_fills_from_all_at_the_half_to_none_when_it_is_full(one: float, other: float):
    low, high = sorted((one, other))
    assert 1.0 >= kept_share(low) >= kept_share(high) >= 0.0
    assert kept_share(min(low, SAMPLED_FROM)) == 1.0
    assert kept_share(1.0 + low) == 0.0


@pytest.mark.parametrize("share", [0.9, 0.25, 0.01])
def test_the_share_that_is_kept_is_the_share_that_was_asked_for(share: float):
    kept = sum(sampled(share, "log", f"{n:032x}") for n in range(40_000))
    assert kept / 40_000 == pytest.approx(share, abs=4 * (share * (1 - share) / 40_000) ** 0.5)


@pytest.mark.parametrize("rate", [1.0, 0.5])
async def test_a_prediction_is_kept_whole_with_its_shadows_even_when_the_spool_fills_or_empties_meanwhile(rate: float):
    bench = Bench(a_plan(spec=ServingSpec(log_sample_rate=rate), shadows=(a_shadow(6),)))
    for n in range(300):
        bench.answers.share = (1.0, 0.5, 0.1)[n // 100]
        await bench.predict.answer(a_call(rows=3, prediction_id=uuid.UUID(int=n).bytes))
    bench.answers.share, bench.shadows.share = 0.001, 0.001
    await bench.score_shadows()
    kept = [rows.prediction_id for _, rows in bench.answers.taken]
    assert kept == [rows.prediction_id for _, rows in bench.shadows.taken]
    assert {rows.rows for _, rows in bench.answers.taken} == {3}
    assert bench.answers.counted == bench.shadows.counted == {"": 3 * (300 - len(kept))}
    in_each = [sum(n // 100 == part for n in (uuid.UUID(bytes=one).int for one in kept)) for part in range(3)]
    assert in_each[0] > in_each[1] > in_each[2] > 0


async def test_who_is_refused_for_want_of_room_is_told_when_to_come_back():
    bench = Bench(a_plan(), logging=Logging(on_full="reject"))
    bench.answers.full = True
    with pytest.raises(SpoolFull) as refused:
        await bench.predict.answer(a_call())
    assert refused.value.retry_after_s == MEASURED_S


class Spool:
    """Room for so many bytes, when there is some."""

    def __init__(self) -> None:
        self.left_bytes, self.room = 0, asyncio.Event()

    async def until_room(self) -> None:
        await self.room.wait()


def held(gone: list[int], number: int, size: int) -> Held:
    return Held("m", size, lambda: gone.append(number), lambda: False)


async def test_who_waits_is_let_go_in_order_as_there_is_room_and_one_at_least():
    spool, gone = Spool(), list[int]()
    queue = RoomQueue(spool)
    for number in range(20):
        queue.hold(held(gone, number, 9_000))
    spool.left_bytes = 45_000
    spool.room.set()
    await eventually(lambda: gone)
    assert gone == [0, 1, 2, 3, 4]
    spool.left_bytes = 0  # measured before those were in it
    await eventually(lambda: len(gone) > 5)
    assert gone == [0, 1, 2, 3, 4, 5]
    assert queue.holds
    spool.left_bytes = 2**30
    await eventually(lambda: not queue.holds)
    assert gone == [*range(20)]


async def test_who_comes_later_does_not_pass_those_by_who_wait():
    bench, room = Bench(a_plan(), logging=Logging(on_full="block")), asyncio.Event()
    bench.answers.until_room = room.wait  # type: ignore[method-assign, assignment]
    bench.answers.full = True
    caller, answers = SimpleNamespace(gone=False, deadline=None), list[int]()
    for number in range(2):
        bench.predict.submit(a_call(), lambda _, number=number: answers.append(number), caller)
        bench.answers.full = False
    assert answers == []
    room.set()
    await eventually(lambda: len(answers) == 2)
    assert answers == [0, 1]
