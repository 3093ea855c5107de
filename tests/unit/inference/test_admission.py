"""What is refused before it costs, and that nobody is refused without need."""

from __future__ import annotations

from gyrostat_common.errors import DeadlineOver
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.calls import Answer
from gyrostat_inference.domain.engine_settings import EngineSettings, QueueLimits
from gyrostat_inference.domain.errors import QueueFull, TooLate
from gyrostat_inference.domain.plan import ServingSpec
from support.callers import ENDLESS, SIZE, Waiting, a_model, batches, turn
from support.live_models import a_plan
from support.predicting import Predicting
from support.waiting import eventually


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


async def test_bytes_that_wait_are_bounded_whoever_sends_them():
    flights, trains = a_model("flights", a_plan()), a_model("trains", a_plan())
    bench = Predicting(flights, trains, bounds=Bounds(queue_bytes=500))
    callers = [Waiting(1, columns=100), Waiting(2, columns=100)]
    callers += [Waiting(3, model="trains", columns=100), Waiting(4, model="trains", columns=100)]
    for caller in callers:
        caller.ask(bench)
    assert [[type(each) for each in caller.told] for caller in callers] == [[], [QueueFull], [], [QueueFull]]
    await turn()
    again = Waiting(5, columns=500)
    again.ask(bench)
    await turn()
    assert again.is_own(again.told[0])


async def test_a_version_whose_runs_never_end_is_known_to_be_slow():
    live = a_model("flights", a_plan())
    bench = Predicting(live)
    caller = Waiting(1, poison=ENDLESS)
    caller.ask(bench)
    await eventually(lambda: caller.told)
    assert live.loaded[4].pace.each_ns > 0


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
