"""A caller that asks again with the same prediction id: every answer is archived, one is counted, on both databases."""

import numpy as np
import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_monitor.domain.errors import PredictionUnknown
from gyrostat_monitor.events import decoding
from gyrostat_monitor.usecases.queries import EVER
from support.frames import a_frame, a_plan, an_outcome, planned, prediction_id
from support.monitor import HOUR_US, observe, stamp, take_in

T0 = 1_362_096_000_000_000
SPEC = models.ModelSpec(
    task=models.TASK_BINARY, score_output="probabilities", monitor=models.MonitorPolicy(lateness_s=60),
    label=models.LabelPolicy(horizon_s=2 * 86_400), rollout=models.RolloutPolicy(min_paired_rows=100),
)  # fmt: skip
SHADOW = {"version": 2, "role": pb.ROLE_SHADOW, "variant": "shadow"}


def frame(no, ids, score=0.8, at=T0, **more):
    """A frame of the ids with these numbers."""
    names = [prediction_id(i) for i in ids]
    inputs = {"x": [float(i) for i in ids], "place": [f"p{i}" for i in ids]}
    return a_frame(no, names, [at + i for i in range(len(ids))], [score] * len(ids), inputs, rollout_id="ro", **more)


async def begin(core, **more):
    plan = a_plan(
        1, 1, spec=SPEC, rollout_id="ro", judge_version=2, judge_baseline=1, phase=pb.ROLLOUT_PHASE_SHADOW,
        rollout_started_at=stamp(T0 - HOUR_US), step_started_at=stamp(T0 - HOUR_US), **more,
    )  # fmt: skip
    plan.shadows.add().version.CopyFrom(planned(2))
    await core.plans(decoding.plan(plan), "plan")


async def quality(core):
    """(version, role) → (predictions, outcomes, log loss)."""
    rows = await core.queries.quality("flights", EVER, "", True)
    return {(r.version, r.role): (r.sums.predictions, r.sums.outcomes, r.metrics.get("log_loss")) for r in rows}


async def pairs(core):
    return sum(p.rows for p in (await core.counts.pairs("flights", "ro")).values())


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "three batches"])
async def test_the_first_answer_to_an_id_is_counted_and_the_others_are_not(core, together):
    await begin(core)
    frames = [
        frame(1, [0, 1, 2]),
        frame(2, [0, 1, 2], 0.3, **SHADOW),
        frame(3, [1, 3], 0.6, at=T0 + 1_000_000),
        frame(4, [1, 3], 0.4, at=T0 + 1_000_000, **SHADOW),
    ]
    for batch in [frames] if together else [frames[:1], frames[1:3], frames[3:]]:
        await observe(core, batch)
    await take_in(core, [an_outcome(prediction_id(i), 1, T0 + HOUR_US) for i in range(4)])
    found = await quality(core)
    loss = -(3 * np.log(0.8) + np.log(0.6)) / 4
    assert found[1, "answer"] == (4, 4, pytest.approx(loss, abs=1e-4))
    assert found[2, "shadow"][:2] == (4, 4)
    assert found[0, "answer"][:2] == (4, 4)
    assert await pairs(core) == 4
    ticks = await core.counts.tick_rows("flights", 1, 0)
    assert sum(ticks.values()) == 4
    (status,) = await core.queries.status("flights")
    assert status.rows == {"1/answer": 5, "2/shadow": 5}
    assert (status.counters["repeated/answer"], status.counters["repeated/shadow"]) == (1, 1)
    assert status.coverage == 1.0
    traffic = await core.counts.traffic("flights", "ro")
    assert {version: t.scored for (_, version), t in traffic.items()} == {1: 4, 2: 4}


async def test_a_repeat_after_the_weights_moved_counts_neither_version_twice(core):
    await begin(core)
    await observe(core, [frame(1, [0]), frame(2, [0], 0.3, **SHADOW)])
    swapped = [
        frame(3, [0], 0.3, version=2, variant="canary"),
        frame(4, [0], 0.8, version=1, role=pb.ROLE_SHADOW, variant="shadow"),
    ]
    await observe(core, swapped)
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + HOUR_US)])
    found = await quality(core)
    assert {place: (n, m) for place, (n, m, _) in found.items()} == {
        (0, "answer"): (1, 1), (1, "answer"): (1, 1), (2, "shadow"): (1, 1)
    }  # fmt: skip
    assert await pairs(core) == 1


async def test_a_pinned_call_with_the_id_of_an_answer_takes_nothing_from_it(core):
    await begin(core)
    await observe(core, [frame(1, [0], variant="pinned")])
    await observe(core, [frame(2, [0])])
    await observe(core, [frame(3, [0], variant="pinned")])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + HOUR_US)])
    assert (await quality(core))[1, "answer"][:2] == (1, 1)
    (status,) = await core.queries.status("flights")
    assert status.counters["pinned/1"] == 2
    assert status.counters.get("repeated/answer", 0) == 0


async def test_a_new_request_id_of_a_repeat_names_the_same_prediction(core):
    await begin(core)
    await observe(core, [frame(1, [0], request_ids=["first"])])
    await observe(core, [frame(2, [0], request_ids=["second"])])
    ref = pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id="second", row=0))
    await take_in(core, [an_outcome(ref, 1, T0 + HOUR_US)])
    assert (await quality(core))[1, "answer"][:2] == (1, 1)


async def test_both_answers_are_archived_and_the_second_says_that_it_repeats(core):
    await begin(core)
    batches = [[frame(1, [0, 1])], [frame(2, [0], 0.6, at=T0 + 5)], [frame(3, [0], 0.3, **SHADOW)]]
    for batch in batches:
        await observe(core, batch)
        await core.archiving.frames([decoding.frame(f) for f in batch])
    found = await core.queries.prediction(f"{prediction_id(0)}/0", "")
    told = sorted((a["role"], a["frame_no"], a["repeated"]) for a in found.answers)
    assert told == [("answer", 1, False), ("answer", 2, True), ("shadow", 3, False)]
    other = await core.queries.prediction(f"{prediction_id(1)}/0", "flights")
    assert [a["repeated"] for a in other.answers] == [False]


async def test_a_model_that_is_a_path_leads_nowhere(core):
    await begin(core)
    await core.archiving.frames([decoding.frame(frame(1, [0]))])
    with pytest.raises(PredictionUnknown):
        await core.queries.prediction(f"{prediction_id(0)}/0", "../predictions/flights")


async def test_two_models_may_be_asked_with_one_id(core):
    await begin(core)
    other = a_plan(1, 1, spec=SPEC)
    other.model = "delays"
    await core.plans(decoding.plan(other), "plan")
    await observe(core, [frame(1, [0], request_ids=["r"])])
    await observe(core, [frame(1, [0], 0.4, model="delays", stream="spool/delays/0", request_ids=["r"])])
    await take_in(core, [an_outcome(prediction_id(0), 1, T0 + HOUR_US, model="delays")])
    ref = pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id="r", row=0))
    await take_in(core, [an_outcome(ref, 0, T0 + HOUR_US, model="flights")], start=5)
    assert (await quality(core))[1, "answer"] == (1, 1, pytest.approx(-np.log(0.2), abs=1e-4))
    (row,) = [r for r in await core.queries.quality("delays", EVER, "", False) if r.role == "answer"]
    assert (row.sums.predictions, row.sums.outcomes) == (1, 1)
    assert row.metrics["log_loss"] == pytest.approx(-np.log(0.4), abs=1e-4)
