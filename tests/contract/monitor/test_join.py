"""The join's promises on SQLite and PostgreSQL: three names, duplicates, corrections, retries, late ones, whichever
comes first."""

from dataclasses import replace

import numpy as np
import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_monitor.domain.errors import FrameInvalid, OutcomeInvalid
from gyrostat_monitor.domain.frames import parse_row_id
from gyrostat_monitor.events import decoding
from gyrostat_monitor.usecases.outcomes import Given
from gyrostat_monitor.usecases.queries import EVER
from support.frames import a_frame, a_plan, an_outcome, planned, prediction_id
from support.monitor import DAY_US, HOUR_US, observe, outbox_topics, received, stamp, take_in

T0 = 1_362_096_000_000_000
SPEC = models.ModelSpec(
    task=models.TASK_BINARY, score_output="probabilities", monitor=models.MonitorPolicy(lateness_s=60),
    label=models.LabelPolicy(horizon_s=2 * 86_400), owner="ops@example.org",
    rollout=models.RolloutPolicy(min_paired_rows=100),
)  # fmt: skip


def frame(no, n=1, at=T0, score=0.8, version=1, role=pb.ROLE_ANSWER, start=0, **more):
    ids = [prediction_id(start + i) for i in range(n)]
    variant = "champion" if role == pb.ROLE_ANSWER else "shadow"
    times = [at + i for i in range(n)]
    return a_frame(no, ids, times, [score] * n, version=version, role=role, variant=variant, **more)


async def plan(core, **more):
    made = a_plan(more.pop("revision", 1), 1, spec=SPEC, **more)
    made.shadows.add().version.CopyFrom(planned(2))
    await core.plans(decoding.plan(made), "plan-event")


async def metrics(core, version=1, role="answer"):
    rows = {(r.version, r.role): r for r in await core.queries.quality("flights", EVER, "", True)}
    row = rows[version, role]
    return row.sums.predictions, row.sums.outcomes, dict(row.metrics)


async def counters(core):
    (status,) = await core.queries.status("flights")
    return status


async def test_an_outcome_joins_every_versions_answer_and_counts_by_role(core):
    await plan(core)
    await observe(core, [frame(1), frame(2, version=2, role=pb.ROLE_SHADOW, score=0.3)])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + HOUR_US)])
    assert (await metrics(core))[2]["log_loss"] == pytest.approx(-np.log(0.8), abs=1e-4)
    assert (await metrics(core, 2, "shadow"))[2]["log_loss"] == pytest.approx(-np.log(0.3), abs=1e-4)
    assert (await metrics(core, 0))[0:2] == (1, 1)
    status = await counters(core)
    assert status.counters["outcomes_joined"] == 1
    assert status.coverage == 1.0
    assert status.lag_s == pytest.approx(3600, rel=0.1)
    assert status.rows == {"1/answer": 1, "2/shadow": 1}


async def test_duplicates_count_once_and_corrections_win_by_when_they_were_recorded(core):
    await plan(core)
    await observe(core, [frame(1)])
    first = an_outcome(prediction_id(0), 1, T0 + 10, recorded_at=stamp(T0 + 100))
    await take_in(core, [first], ["a"])
    await take_in(core, [first], ["a"])
    assert (await counters(core)).counters["outcomes_duplicate"] == 1
    older = an_outcome(prediction_id(0), 0, T0 + 10, recorded_at=stamp(T0 + 50))
    await take_in(core, [older], ["b"])  # arrives later, was recorded earlier
    assert (await metrics(core))[2]["log_loss"] == pytest.approx(-np.log(0.8), abs=1e-4)
    newer = an_outcome(prediction_id(0), 0, T0 + 10, recorded_at=stamp(T0 + 200))
    await take_in(core, [newer], ["c"])
    predictions, outcomes, found = await metrics(core)
    assert (predictions, outcomes) == (1, 1)
    assert found["log_loss"] == pytest.approx(-np.log(0.2), abs=1e-4)
    tied = an_outcome(prediction_id(0), 1, T0 + 10, recorded_at=stamp(T0 + 200))
    await take_in(core, [tied], ["d"])  # same time: the higher event id
    assert (await metrics(core))[2]["log_loss"] == pytest.approx(-np.log(0.8), abs=1e-4)


async def test_an_outcome_before_its_prediction_is_parked_then_joined(core):
    await plan(core)
    await observe(core, [frame(1, start=50)])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + 10)])
    status = await counters(core)
    assert (status.parked, status.counters.get("outcomes_joined", 0)) == (1, 0)
    await observe(core, [frame(2)])
    status = await counters(core)
    assert (status.parked, status.counters["outcomes_joined"]) == (0, 1)
    assert (await metrics(core))[1] == 1


async def test_a_parked_outcome_expires_after_the_label_horizon(core):
    await plan(core)
    await observe(core, [frame(1)])
    await take_in(core, [an_outcome(prediction_id(999), 1, T0)])
    await observe(core, [frame(2, at=T0 + 5 * DAY_US, start=5)])
    assert (await counters(core)).parked == 1  # outcomes may lie unread in the log, that one's prediction too
    await take_in(core, [an_outcome(prediction_id(5), 1, T0 + 6 * DAY_US)], start=9)
    await observe(core, [frame(3, at=T0 + 6 * DAY_US, start=6)])
    status = await counters(core)
    assert (status.parked, status.counters["outcomes_expired"]) == (0, 1)


async def test_an_outcome_after_the_label_horizon_is_ignored(core):
    await plan(core)
    await observe(core, [frame(1)])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + 3 * DAY_US)])
    assert (await metrics(core))[1] == 0


async def test_by_request_and_after_a_retry_only_the_last_answer_counts(core):
    await plan(core)
    ref = pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id="r-1", row=0))
    await observe(core, [frame(1, request_ids=["r-1"])])
    await take_in(core, [an_outcome(ref, 1, T0 + 10)])
    assert (await metrics(core))[1] == 1
    assert (await metrics(core))[2]["log_loss"] == pytest.approx(-np.log(0.8), abs=1e-4)
    await observe(core, [frame(2, at=T0 + 5, score=0.4, start=1, request_ids=["r-1"])])
    predictions, outcomes, found = await metrics(core)
    assert (predictions, outcomes) == (2, 1)
    assert found["log_loss"] == pytest.approx(-np.log(0.4), abs=1e-4)
    resolved = await core.joins.resolutions("flights", 0)
    assert [o.ref.prediction for _, o in resolved] == [parse_row_id(f"{prediction_id(i)}/0") for i in (0, 1)]


async def test_two_sources_may_give_their_events_the_same_id(core):
    await plan(core)
    await observe(core, [frame(1, n=2, request_ids=["a-1", "b-1"])])
    refs = [pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id=f"{who}-1", row=0)) for who in "ab"]
    for source, ref, value in (("backend-a", refs[0], 1), ("backend-b", refs[1], 0)):
        outcome = decoding.outcome(received(an_outcome(ref, value, T0 + 10), "evt-1"))
        await core.take_in([replace(outcome, event_source=source)], {"outcome.recorded/0": 1}, "outcome")
    predictions, outcomes, found = await metrics(core)
    assert (predictions, outcomes) == (2, 2)
    assert found["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2, abs=1e-4)
    kept = await core.joins.outcomes("flights", [parse_row_id(f"{prediction_id(i)}/0") for i in range(2)])
    assert sorted((o.event_source, o.value) for found in kept.values() for o in found) == [
        ("backend-a", 1.0), ("backend-b", 0.0),
    ]  # fmt: skip


async def test_by_entity_and_time_waits_for_the_watermark(core):
    await plan(core)
    at = T0 + HOUR_US
    ref = pb.PredictionRef(entity=pb.PredictionRef.ByEntity(entity="N123", at=stamp(at)))
    await observe(core, [frame(1, entities=["N123"])])
    await take_in(core, [an_outcome(ref, 1, at)])
    assert (await metrics(core))[1] == 0  # a nearer prediction may still come
    await observe(core, [frame(2, at=at - 5, score=0.6, start=1, entities=["N123"])])
    await observe(core, [frame(3, at=at + 3 * HOUR_US, start=2, entities=["N999"])])
    assert (await metrics(core))[1] == 1
    assert (await metrics(core))[2]["log_loss"] == pytest.approx(-np.log(0.6), abs=1e-4)


async def test_frames_that_come_again_are_skipped(core):
    await plan(core)
    await observe(core, [frame(1), frame(2, start=1)])
    await observe(core, [frame(1), frame(2, start=1), frame(3, start=2)])
    assert (await metrics(core))[0] == 3
    assert (await counters(core)).counters["duplicate_frames"] == 2


async def test_a_pinned_call_is_kept_and_stays_out_of_quality(core):
    await plan(core)
    pinned = frame(1)
    pinned.variant = "pinned"
    await observe(core, [pinned, frame(2, start=1)])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + 10)])
    assert (await metrics(core))[0:2] == (1, 0)
    assert (await counters(core)).counters["pinned/1"] == 1


async def test_recorded_outcomes_leave_by_the_outbox_all_or_nothing(core):
    await plan(core)
    good = Given("flights", decoding.ref(an_outcome(prediction_id(0), 1, T0).prediction), 1.0, T0, None, "backend", 1.0)
    assert await core.record([good, good]) == ["outcome-1", "outcome-2"]
    assert await outbox_topics(core) == ["outcome.recorded"] * 2
    for bad in (0.5, float("nan")):
        with pytest.raises(OutcomeInvalid, match="outcome 1"):
            await core.record([good, Given("flights", good.ref, bad, T0, None, "", 1.0)])
    for wrong in ([], [good] * 10_001, [Given("", good.ref, 1.0, T0, None, "", 1.0)],
                  [Given("flights", good.ref, 1.0, None, None, "", 1.0)],
                  [Given("flights", good.ref, 1.0, T0, None, "", -1.0)]):  # fmt: skip
        with pytest.raises(OutcomeInvalid):
            await core.record(wrong)
    assert len(await outbox_topics(core)) == 2


async def test_paired_evidence_of_a_roll_out_is_the_same_whenever_the_plan_is_heard(core):
    await plan(core)
    n = 300
    scores = np.linspace(0.1, 0.9, n)
    ids = [prediction_id(i) for i in range(n)]
    events = [T0 + i for i in range(n)]

    def both(no, start, stop):
        part = slice(start, stop)
        yield a_frame(no, ids[part], events[part], scores[part], revision=2, rollout_id="ro")
        yield a_frame(no + 1, ids[part], events[part], scores[part] * 0.9, version=2, role=pb.ROLE_SHADOW, revision=2,
                      variant="shadow", rollout_id="ro")  # fmt: skip

    await observe(core, both(1, 0, 100))
    await take_in(core, [an_outcome(i, 1, T0 + HOUR_US) for i in ids[:100]])
    rollout = dict(rollout_id="ro", judge_version=2, judge_baseline=1, phase=pb.ROLLOUT_PHASE_SHADOW,
                   rollout_started_at=stamp(T0), step_started_at=stamp(T0))  # fmt: skip
    await plan(core, revision=2, **rollout)
    await observe(core, both(3, 100, 300))
    await take_in(core, [an_outcome(i, 1, T0 + HOUR_US) for i in ids[100:]], start=500)
    pairs = await core.counts.pairs("flights", "ro")
    assert sum(p.rows for p in pairs.values()) == n
    judged = await core.queries.judgements("flights", "ro", 10, "")
    assert judged[0][0].judgement.paired_rows == 100  # said once; the same verdict is not repeated within a sub-window
    assert judged[0][0].judgement.verdict == "roll_back"  # every score is further from the truth
    assert (await outbox_topics(core)).count("canary.judged") == len(judged[0])
    corrected = an_outcome(ids[0], 0, T0 + HOUR_US, recorded_at=stamp(T0 + 2 * HOUR_US))
    await take_in(core, [corrected], ["later"])
    pairs = await core.counts.pairs("flights", "ro")
    assert sum(p.rows for p in pairs.values()) == n


def given(m):
    """The same outcome as a caller of the RPC gives it."""
    us = decoding.microseconds
    return Given(m.model, decoding.ref(m.prediction), m.value, us(m.observed_at), us(m.recorded_at), m.source, m.weight)


LONG = "x" * 1025
BY = pb.PredictionRef
BAD_OUTCOMES = {
    "a model that is a path": {"model": "../../etc"},
    "a model in capitals": {"model": "Flights"},
    "a number without a square": {"value": 1e200},
    "a heavy weight": {"weight": 1e300},
    "a time before 1970": {"observed_at": stamp(-1_000_000)},
    "recorded in the future": {"recorded_at": stamp(T0 + 2 * 10**16)},
    "a long source": {"source": LONG},
    "a NUL in the source": {"source": "a\0b"},
    "a row without end": {"prediction": BY(prediction_id=f"{prediction_id(0)}/99999999999999999999")},
    "a row beyond all": {"prediction": BY(prediction_id=f"{prediction_id(0)}/4294967296")},
    "a negative row": {"prediction": BY(request=BY.ByRequest(request_id="r", row=-1))},
    "a long request": {"prediction": BY(request=BY.ByRequest(request_id=LONG))},
    "a NUL in the entity": {"prediction": BY(entity=BY.ByEntity(entity="e\0", at=stamp(T0)))},
}


@pytest.mark.parametrize("what", list(BAD_OUTCOMES))
async def test_an_outcome_that_would_stop_the_join_or_the_archive_is_refused_by_both_ways_in(core, what):
    message = an_outcome(prediction_id(0), 1, T0, source="s", weight=1.0)
    for name, value in BAD_OUTCOMES[what].items():
        message.ClearField(name)
        message.MergeFrom(pb.OutcomeRecorded(**{name: value}))
    with pytest.raises(OutcomeInvalid):
        await take_in(core, [message])
    with pytest.raises(OutcomeInvalid, match=r"outcome 0|<uuid>/<row>"):
        await core.record([given(message)])
    assert await outbox_topics(core) == []


async def test_a_score_that_cannot_be_squared_is_no_score(core):
    await plan(core)
    huge = frame(1, score=0.5)
    huge.outputs[1].datatype = "FP64"
    huge.outputs[1].values = np.array([0.0, 1e200], "<f8").tobytes()
    await observe(core, [huge])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + 10)])
    assert (await metrics(core))[0:2] == (1, 0)


@pytest.mark.parametrize("field", ["event_times_us", "arrival_times_us"])
async def test_a_frame_with_a_time_that_no_table_has_is_poison(field):
    made = frame(1)
    setattr(made, field, np.array([2**62], "<i8").tobytes())
    with pytest.raises(FrameInvalid, match=field):
        decoding.frame(made)


@pytest.mark.parametrize(("field", "value"), [("model", "../../etc"), ("stream", LONG), ("rollout_id", "a\0")])
async def test_a_frame_whose_names_could_be_no_keys_is_poison(field, value):
    made = frame(1)
    setattr(made, field, value)
    with pytest.raises(FrameInvalid):
        decoding.frame(made)


async def test_names_in_a_frame_that_could_be_no_keys_name_nobody(core):
    await plan(core)
    await observe(core, [frame(1, n=3, request_ids=[LONG, "a\0", "r"], entities=[LONG, "a\0", "e"])])
    found = await core.joins.requests("flights", [(name, 0) for name in (LONG, "r")])
    assert list(found) == [("r", 0)]
