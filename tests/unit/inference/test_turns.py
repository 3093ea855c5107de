"""What arrives in one turn of the loop runs together, and every caller gets exactly its own answer, once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.calls import Answer
from gyrostat_inference.domain.errors import AnswerTooLarge, ScoringFailed, WrongTensor
from gyrostat_inference.domain.plan import ServingSpec
from gyrostat_inference.usecases.turns import LARGEST_ANSWER_BYTES, MOST_BATCH_BYTES, TURN_ROWS
from support.callers import REFUSED, SIZE, Waiting, a_model, batches, engine, tensors, turn
from support.live_models import a_call, a_plan
from support.predicting import Predicting
from support.waiting import eventually

# Together


async def test_what_arrives_in_one_turn_runs_together_and_is_cut_into_its_own():
    live = a_model("flights", a_plan())
    bench = Predicting(live)
    callers = [Waiting(n, rows=1 + n % 3) for n in range(6)]
    for caller in callers:
        caller.ask(bench)
    assert batches(live) == []
    assert not any(caller.told for caller in callers)
    await turn()
    assert batches(live) == [12]
    assert all(len(caller.told) == 1 and caller.is_own(caller.told[0]) for caller in callers)
    counters = live.loaded[4].counters
    assert (counters.success.count, counters.inferences, counters.executions) == (6, 12, 1)
    assert counters.queue.count == 6
    assert counters.queue.ns > 0
    assert list(counters.batches) == [12]


async def test_other_shapes_versions_and_models_run_apart():
    flights, trains = a_model("flights", a_plan(fallback=3)), a_model("trains", a_plan())
    bench = Predicting(flights, trains)
    callers = [
        Waiting(1), Waiting(2), Waiting(3, columns=2), Waiting(4, columns=2), Waiting(5, version="3"),
        Waiting(6, model="trains"),
    ]  # fmt: skip
    for caller in callers:
        caller.ask(bench)
    await turn()
    assert all(caller.is_own(caller.told[0]) for caller in callers)
    assert (batches(flights), batches(flights, 3), batches(trains)) == ([2, 2], [1], [1])


@pytest.mark.parametrize(("alone", "spec"), [("its rows are not its own", ServingSpec()), ("", engine(off=True))])
async def test_what_must_not_run_together_runs_alone(alone: str, spec: ServingSpec):
    live = a_model("flights", a_plan(spec=spec), alone)
    bench = Predicting(live)
    callers = [Waiting(n) for n in range(3)]
    for caller in callers:
        caller.ask(bench)
    await turn()
    assert batches(live) == [1, 1, 1]
    assert all(caller.is_own(caller.told[0]) for caller in callers)


async def test_a_run_has_at_most_so_many_rows():
    live = a_model("flights", a_plan(spec=engine(max_batch_rows=5)))
    bench = Predicting(live)
    for n in range(4):
        Waiting(n, rows=2).ask(bench)
    Waiting(9, rows=9).ask(bench)
    await turn()
    assert batches(live) == [4, 4, 9]


async def test_a_run_has_at_most_so_many_bytes_and_what_takes_long_runs_alone():
    large, slow = a_model("flights", a_plan()), a_model("trains", a_plan())
    bench = Predicting(large, slow)
    slow.loaded[4].pace.ran(SIZE, 50_000_000)
    callers = [Waiting(n, columns=MOST_BATCH_BYTES // 8) for n in range(3)]
    callers += [Waiting(n, model="trains") for n in range(3, 5)]
    for caller in callers:
        caller.ask(bench)
    await eventually(lambda: all(caller.told for caller in callers))
    assert all(caller.is_own(caller.told[0]) for caller in callers)
    assert (batches(large), batches(slow)) == ([1, 1, 1], [1, 1])


async def test_with_a_delay_a_request_waits_for_company_but_no_longer():
    live = a_model("flights", a_plan(spec=engine(max_delay_us=1_000_000, max_batch_rows=3)))
    bench = Predicting(live)
    callers = [Waiting(n) for n in range(5)]
    for caller in callers[:2]:
        caller.ask(bench)
        await turn()
    assert batches(live) == []
    callers[2].ask(bench)
    await turn()
    assert batches(live) == [3], "enough have come"
    for caller in callers[3:]:
        caller.ask(bench)
    await eventually(lambda: all(caller.told for caller in callers))
    assert batches(live) == [3, 2]


# Apart


async def test_a_request_that_fails_harms_none_of_its_batch():
    live = a_model("flights", a_plan())
    bench = Predicting(live)
    callers = [Waiting(n, poison=REFUSED if n == 2 else None) for n in range(4)]
    for caller in callers:
        caller.ask(bench)
    await turn()
    assert batches(live) == [4, 1, 1, 1, 1]
    assert [type(caller.told[0]) for caller in callers] == [Answer, Answer, ScoringFailed, Answer]
    assert all(caller.is_own(caller.told[0]) for caller in callers if caller.number != 2)
    assert (live.loaded[4].counters.success.count, live.loaded[4].counters.fail.count) == (3, 1)


async def test_the_fallback_answers_the_one_that_failed_and_no_other():
    live = a_model("flights", a_plan(fallback=3))
    live.loaded[3].scorer.run = lambda *_: [np.zeros((1, 1), np.float32), np.array([["f"]], dtype=object)]  # type: ignore[method-assign]
    bench = Predicting(live)
    callers = [Waiting(n, poison=REFUSED if n == 1 else None) for n in range(3)]
    for caller in callers:
        caller.ask(bench)
    await turn()
    assert [caller.told[0].variant for caller in callers] == ["champion", "fallback", "champion"]


async def test_what_is_wrong_with_a_request_never_reaches_a_batch():
    live = a_model("flights", a_plan())
    bench = Predicting(live)
    good, told = Waiting(1), list[Answer | Exception]()
    good.ask(bench)
    bench.predict.submit(a_call(tensors={}), told.append)
    assert [type(each) for each in told] == [WrongTensor]
    await turn()
    assert batches(live) == [1]
    assert good.is_own(good.told[0])


async def test_rows_that_do_not_come_back_row_by_row_are_never_given_to_anybody():
    live = a_model("flights", a_plan())
    scorer = live.loaded[4].scorer
    whole = scorer.run

    def without_the_last(inputs: Any, *limits: Any) -> Any:
        found = whole(inputs, *limits)
        return found if len(inputs["x"]) == 1 else [array[:-1] for array in found]

    scorer.run = without_the_last  # type: ignore[method-assign]
    bench = Predicting(live)
    callers = [Waiting(n) for n in range(6)]
    for caller in callers[:3]:
        caller.ask(bench)
    await turn()
    for caller in callers[3:]:
        caller.ask(bench)
    await turn()
    assert batches(live) == [3, 1, 1, 1, 1, 1, 1]
    assert all(caller.is_own(caller.told[0]) for caller in callers)


async def test_an_answer_that_is_too_large_is_so_for_its_caller_only():
    live = a_model("flights", a_plan(spec=engine(max_batch_rows=2)))
    scorer = live.loaded[4].scorer
    large = np.zeros((1, LARGEST_ANSWER_BYTES // 4 + 1), np.float32)

    def answering(inputs: Any, *_: Any) -> Any:
        rows, said = len(inputs["x"]), np.array([["u"]] * len(inputs["x"]), dtype=object)
        return (
            [np.broadcast_to(large, (rows, large.shape[1])), said] if (inputs["x"] == 1).any() else [inputs["x"], said]
        )

    scorer.run = answering  # type: ignore[method-assign]
    bench = Predicting(live)
    callers = [Waiting(n, poison=1.0 if n == 1 else None) for n in range(2)]
    for caller in callers:
        caller.ask(bench)
    await turn()
    assert [type(caller.told[0]) for caller in callers] == [Answer, AnswerTooLarge]


async def test_a_caller_that_breaks_harms_none_of_its_batch():
    live = a_model("flights", a_plan())
    bench, said = Predicting(live), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))

    def broken(_: Answer | Exception) -> None:
        raise ZeroDivisionError

    bench.predict.submit(a_call(tensors=tensors(np.ones((1, 1), np.float32), "b")), broken)
    other = Waiting(1)
    other.ask(bench)
    await turn()
    assert other.is_own(other.told[0])
    assert [type(what["exception"]) for what in said] == [ZeroDivisionError]


# In turn


async def test_models_take_turns_and_no_turn_is_endless():
    spec = engine(max_batch_rows=64)
    heavy, light = a_model("flights", a_plan(spec=spec)), a_model("trains", a_plan(spec=spec))
    bench = Predicting(heavy, light)
    first, many = Waiting(0, rows=64), [Waiting(n, rows=64) for n in range(1, TURN_ROWS // 64 + 3)]
    for caller in (first, *many):
        caller.ask(bench)
    late = Waiting(99, model="trains")
    late.ask(bench)
    await asyncio.sleep(0)
    assert first.told, "the first turn has begun"
    assert not many[-1].told, "and ended before all were through"
    await turn()
    assert late.told, "the other model was next"
    await eventually(lambda: all(caller.told for caller in many))
    assert all(len(caller.told) == 1 and caller.is_own(caller.told[0]) for caller in many)


async def test_a_run_that_is_known_to_take_long_leaves_the_loop():
    live = a_model("flights", a_plan())
    bench = Predicting(live, bounds=Bounds(on_loop_ms=0.000001))
    Waiting(0).ask(bench)
    await turn()
    caller = Waiting(1)
    caller.ask(bench)
    await turn()
    assert len(batches(live)) >= 1
    await eventually(lambda: caller.told)
    assert caller.is_own(caller.told[0])


async def test_who_has_left_while_a_thread_ran_gets_nothing_and_nothing_is_recorded_of_it():
    live = a_model("flights", a_plan())
    bench = Predicting(live, bounds=Bounds(on_loop_ms=0.000001))
    version, begun, go_on = live.loaded[4], threading.Event(), threading.Event()
    version.pace.ran(2 * SIZE, 1000)
    whole = version.scorer.run

    def held(inputs: Any, *limits: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return whole(inputs, *limits)

    version.scorer.run = held  # type: ignore[method-assign]
    leaves, stays = Waiting(1), Waiting(2)
    for caller in (leaves, stays):
        caller.ask(bench)
    assert await asyncio.to_thread(begun.wait, 60)
    leaves.gone = True
    go_on.set()
    await eventually(lambda: not bench.turns.rows)
    assert leaves.told == []
    assert stays.is_own(stays.told[0])
    assert [rows.request_id for _, rows in bench.answers.taken] == [b"2"]
