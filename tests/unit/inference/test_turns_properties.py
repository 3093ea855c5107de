"""Whatever comes, every caller gets exactly its own answer, once."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_inference.domain.calls import Answer
from gyrostat_inference.domain.plan import ServingSpec
from support.callers import BROKEN, ENDLESS, REFUSED, Waiting, a_model, engine
from support.live_models import a_plan
from support.predicting import Predicting
from support.waiting import eventually

ASKS = st.builds(
    lambda **fields: ("ask", fields),
    rows=st.integers(1, 4),
    columns=st.sampled_from([1, 1, 2]),
    model=st.sampled_from(["flights", "flights", "trains"]),
    version=st.sampled_from(["", "", "3"]),
    poison=st.sampled_from([None] * 12 + [REFUSED, BROKEN, ENDLESS]),
    within_s=st.sampled_from([None, None, None, 1.5]),
)
STEPS = st.one_of(ASKS, ASKS, ASKS, st.just(("turn", {})), st.just(("wait", {})), st.just(("leave", {})))


@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, max_size=25), st.sampled_from([1, 3, 256]), st.sampled_from([0, 0, 300]), st.data())
def test_every_caller_gets_exactly_its_own_answer_once(
    steps: list[tuple[str, dict[str, Any]]], most: int, delay_us: int, data: st.DataObject
):
    asyncio.run(_every_caller(steps, engine(max_batch_rows=most, max_delay_us=delay_us), data))


async def _every_caller(steps: list[tuple[str, dict[str, Any]]], spec: ServingSpec, data: st.DataObject) -> None:
    now = [0.0]
    lives = [a_model(name, a_plan(spec=spec, fallback=3, shadows=())) for name in ("flights", "trains")]
    bench = Predicting(*lives, clock=lambda: now[0])
    callers: list[Waiting] = []
    for step, fields in steps:
        if step == "ask":
            within_s = fields.pop("within_s")
            deadline = None if within_s is None else now[0] + within_s
            callers.append(Waiting(len(callers), deadline=deadline, **fields))
            callers[-1].ask(bench)
        elif step == "turn":
            await asyncio.sleep(0)
        elif step == "wait":
            now[0] += 1.0
        elif callers:
            data.draw(st.sampled_from(callers)).gone = True
    await eventually(lambda: not bench.turns.rows)
    recorded = [rows.request_id.decode() for _, rows in bench.answers.taken]
    for caller in callers:
        answers = [each for each in caller.told if isinstance(each, Answer)]
        assert len(caller.told) == 1 or (caller.gone and not caller.told)
        assert all(caller.is_own(answer) for answer in answers)
        assert recorded.count(str(caller.number)) == len(answers)
        if caller.poison in (REFUSED, BROKEN):
            assert not answers
        elif not caller.gone and caller.deadline is None:
            assert answers
    for group, rows in bench.answers.taken:
        caller = callers[int(rows.request_id)]
        assert rows.columns[0] == caller.x().tobytes()
        assert rows.columns[-2] == (caller.x() + np.float32(group.version)).tobytes()
