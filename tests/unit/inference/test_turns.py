"""What arrives in one turn of the loop runs together, and every caller gets exactly its own answer, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_common.errors import DeadlineOver
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.calls import Answer
from gyrostat_inference.domain.engine_settings import Batching, EngineSettings, QueueLimits
from gyrostat_inference.domain.errors import AnswerTooLarge, QueueFull, RunTooLong, ScoringFailed, TooLate, WrongTensor
from gyrostat_inference.domain.live import LiveModel, LoadedVersion, live_model
from gyrostat_inference.domain.plan import Plan, ServingSpec, Signature, TensorSpec
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import Tensor
from gyrostat_inference.usecases.turns import LARGEST_ANSWER_BYTES, TURN_ROWS
from support.live_models import KEY, a_call, a_plan
from support.predicting import Predicting
from support.waiting import eventually

OPEN = Signature(
    (TensorSpec("x", "FP32", (-1, -1)), TensorSpec("t", "BYTES", (-1, 1))),
    (TensorSpec("y", "FP32", (-1, -1)), TensorSpec("u", "BYTES", (-1, 1))),
)
ENDLESS, REFUSED, BROKEN = -1.0, -2.0, -3.0
"""Values of `x` at which a graph does not end on the loop, refuses, or fails in a way that nobody foresaw."""


class Rowwise:
    """`y` = `x` + the number of the version, `u` = `t` and the number. Remembers how many rows ran together."""

    facts: dict[str, str]

    def __init__(self, number: int, signature: Signature = OPEN) -> None:
        self.number, self.signature, self.facts = number, signature, {}
        self.batches: list[int] = []

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        x, texts = inputs["x"], inputs["t"]
        self.batches.append(len(x))
        if within_s is not None and (x == ENDLESS).any():
            raise RunTooLong("it does not come to an end")
        if (x == REFUSED).any():
            raise ScoringFailed("one of the rows cannot be scored")
        if (x == BROKEN).any():
            raise RuntimeError("nobody expected this")
        said = np.array([[f"{text} by {self.number}"] for text in texts[:, 0].tolist()], dtype=object)
        return [x + np.float32(self.number), said]


def a_model(name: str, plan: Plan, alone: str = "") -> LiveModel:
    keeping = Keeping({}, {}, KEY)
    loaded = {
        number: LoadedVersion(name, planned, Rowwise(number), keeping, alone)
        for number, planned in plan.versions().items()
    }
    return live_model(replace(plan, model=name), loaded, {})


def batches(live: LiveModel, number: int = 4) -> list[int]:
    return live.loaded[number].scorer.batches  # type: ignore[attr-defined, no-any-return]


def engine(**batching: Any) -> ServingSpec:
    return ServingSpec(engine=EngineSettings(batching=Batching(**batching)))


def tensors(x: npt.NDArray[np.float32], mark: str) -> dict[str, Tensor]:
    texts = np.array([[f"{mark}/{row}"] for row in range(len(x))], dtype=object)
    return {"x": Tensor("FP32", x, x.tobytes()), "t": Tensor("BYTES", texts, oip.to_raw(texts))}


@dataclass(eq=False)
class Waiting:
    """A caller, and what it was told, in order."""

    number: int
    rows: int = 1
    columns: int = 1
    poison: float | None = None
    model: str = "flights"
    version: str = ""
    gone: bool = False
    deadline: float | None = None
    told: list[Answer | Exception] = field(default_factory=list)

    def x(self) -> npt.NDArray[np.float32]:
        x = np.full((self.rows, self.columns), 1000 + 10 * self.number, np.float32) + np.arange(self.rows)[:, None]
        if self.poison is not None:
            x[-1, -1] = self.poison
        return x.astype(np.float32)

    def ask(self, bench: Predicting) -> None:
        call = a_call(
            model=self.model,
            version=self.version,
            request_id=str(self.number),
            prediction_id=self.number.to_bytes(16, "big"),
            tensors=tensors(self.x(), f"c{self.number}"),
        )
        bench.predict.submit(call, self.told.append, self)

    def is_own(self, answer: Answer) -> bool:
        """Whether the answer is what one version makes of this caller's rows and of nothing else."""
        y, u = answer.outputs
        texts = [[f"c{self.number}/{row} by {answer.version}"] for row in range(self.rows)]
        return (
            y.values.tolist() == (self.x() + np.float32(answer.version)).tolist()
            and y.raw == (self.x() + np.float32(answer.version)).tobytes()
            and u.values.tolist() == texts
            and u.raw == oip.to_raw(np.array(texts, dtype=object))
        )


async def turn() -> None:
    """Lets everything run that is due now, and what that makes due."""
    for _ in range(3):
        await asyncio.sleep(0)


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


async def test_with_a_delay_a_request_waits_for_company_but_no_longer():
    live = a_model("flights", a_plan(spec=engine(max_delay_us=10_000, max_batch_rows=3)))
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


# At the door


SIZE = 2
"""Of a row of one number and one text."""


def limited(**queue: int) -> ServingSpec:
    return ServingSpec(engine=EngineSettings(queue=QueueLimits(**queue)))


async def test_beyond_its_rows_a_queue_refuses_at_once_and_says_when_to_come_back():
    live = a_model("flights", a_plan(spec=limited(max_rows=4)))
    bench = Predicting(live)
    callers = [Waiting(n, rows=2) for n in range(3)]
    for caller in callers:
        caller.ask(bench)
    (refused,) = callers[2].told
    assert isinstance(refused, QueueFull)
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    await turn()
    assert all(caller.is_own(caller.told[0]) for caller in callers[:2])
    assert bench.meters.refusals == {"QueueFull": 1}
    assert bench.meters.codes["RESOURCE_EXHAUSTED"] == 1
    again = Waiting(7, rows=9)
    again.ask(bench)
    await turn()
    assert again.is_own(again.told[0]), "what finds nothing waiting is let in, whatever its size"


async def test_a_queue_is_full_by_the_time_that_its_rows_take():
    live = a_model("flights", a_plan(spec=limited(max_ms=100)))
    bench = Predicting(live)
    live.loaded[4].pace.ran(SIZE, 60_000_000, 60_000_000)
    callers = [Waiting(n) for n in range(3)]
    for caller in callers:
        caller.ask(bench)
    assert [[type(each) for each in caller.told] for caller in callers] == [[], [], [QueueFull]]


async def test_no_model_shuts_another_one_out():
    flights, trains = a_model("flights", a_plan()), a_model("trains", a_plan())
    bench = Predicting(flights, trains, bounds=Bounds(queue_rows=2))
    callers = [Waiting(1, rows=2), Waiting(2), Waiting(3, model="trains"), Waiting(4, model="trains")]
    for caller in callers:
        caller.ask(bench)
    assert [[type(each) for each in caller.told] for caller in callers] == [[], [QueueFull], [], [QueueFull]]


async def test_a_deadline_that_cannot_be_met_is_refused_before_it_costs():
    live = a_model("flights", a_plan())
    bench = Predicting(live, clock=lambda: 100.0)
    live.loaded[4].pace.ran(SIZE, 60_000_000, 60_000_000)
    past, ample, short = Waiting(1, deadline=99.0), Waiting(2, deadline=100.5), Waiting(3, deadline=100.05)
    for caller in (past, ample, short):
        caller.ask(bench)
    assert [type(each) for each in past.told] == [DeadlineOver]
    assert [type(each) for each in short.told] == [TooLate]
    await turn()
    assert batches(live) == [1]
    assert ample.is_own(ample.told[0])
    assert bench.meters.codes == {"OK": 1, "DEADLINE_EXCEEDED": 1, "RESOURCE_EXHAUSTED": 1}


async def test_a_deadline_below_every_run_so_far_is_refused_until_one_that_is_tried_all_the_same_proves_it_wrong():
    live = a_model("flights", a_plan())
    bench = Predicting(live, clock=lambda: 100.0)
    for _ in range(8):
        live.loaded[4].pace.ran(SIZE, 50_000_000)
    callers = [Waiting(n, deadline=100.01) for n in range(65)]
    for caller in callers[:64]:
        caller.ask(bench)
    await eventually(lambda: callers[63].told)
    callers[64].ask(bench)
    await eventually(lambda: callers[64].told)
    assert [type(caller.told[0]) for caller in callers] == [DeadlineOver] * 63 + [Answer] * 2


async def test_one_whose_deadline_passes_while_it_waits_is_not_run():
    now = [100.0]
    live = a_model("flights", a_plan())
    bench = Predicting(live, clock=lambda: now[0])
    caller, other = Waiting(1, deadline=101.0), Waiting(2)
    caller.ask(bench)
    other.ask(bench)
    now[0] = 102.0
    await turn()
    assert batches(live) == [1]
    assert other.is_own(other.told[0])
    assert [type(each) for each in caller.told] == [DeadlineOver]
    assert [rows.request_id for _, rows in bench.answers.taken] == [b"2"]


# Whatever comes

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
