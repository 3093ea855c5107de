"""A candidate that cannot score some requests is taken back for that, however good it is on the others."""

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_monitor.domain.judge import Verdict
from gyrostat_monitor.events import decoding
from support.frames import a_frame, a_plan, an_outcome, planned, prediction_id
from support.monitor import HOUR_US, observe, stamp, take_in

T0 = 1_362_096_000_000_000


async def begin(core, task=models.TASK_BINARY):
    spec = models.ModelSpec(
        task=task, score_output="probabilities", monitor=models.MonitorPolicy(lateness_s=60),
        rollout=models.RolloutPolicy(min_paired_rows=50, min_exposure=10, alpha=0.05),
    )  # fmt: skip
    plan = a_plan(
        1, 1, spec=spec, rollout_id="ro", judge_version=2, judge_baseline=1, phase=pb.ROLLOUT_PHASE_CANARY,
        rollout_started_at=stamp(T0), step_started_at=stamp(T0),
    )  # fmt: skip
    plan.canary.CopyFrom(planned(2))
    await core.plans(decoding.plan(plan), "plan")


def an_hour(no, failing):
    """Forty rows, answered by the champion; the candidate could not score the first `failing` of them."""
    at = T0 + no * HOUR_US
    ids = [prediction_id(40 * no + i) for i in range(40)]
    times = [at + i for i in range(40)]
    shadow = {"version": 2, "role": pb.ROLE_SHADOW, "variant": "shadow", "rollout_id": "ro"}
    refused = a_frame(3 * no + 2, ids[:failing], times[:failing], [0.0] * failing, **shadow)
    refused.ClearField("inputs")
    refused.ClearField("outputs")
    rest = a_frame(3 * no + 3, ids[failing:], times[failing:], [0.9] * (40 - failing), {"x": [1.0] * 40}, **shadow)
    rest.inputs[0].values = rest.inputs[0].values[: 4 * (40 - failing)]
    return [a_frame(3 * no + 1, ids, times, [0.6] * 40, {"x": [1.0] * 40}, rollout_id="ro"), refused, rest]


async def verdicts(core, failing, hours=12):
    for no in range(hours):
        await observe(core, an_hour(no, failing))
        outcomes = [an_outcome(prediction_id(40 * no + i), 1, T0 + no * HOUR_US + 100) for i in range(40)]
        await take_in(core, outcomes, start=40 * no)
    judged = await core.history.judgements("flights", "ro", 100, None)
    return [(j.judgement.verdict, j.judgement.summary) for j in judged]


async def test_rows_without_outputs_are_errors_of_their_version(core):
    await begin(core)
    told = await verdicts(core, failing=4)
    assert told[0][0] is Verdict.ROLL_BACK, told
    assert "10.00% of its rows have no valid score" in told[0][1]


async def test_without_them_the_same_candidate_goes_on(core):
    await begin(core)
    assert Verdict.ROLL_BACK not in [verdict for verdict, _ in await verdicts(core, failing=0)]


async def test_they_are_archived_as_rows_without_outputs(core):
    await begin(core)
    frames = an_hour(0, 4)
    await observe(core, frames)
    await core.archiving.frames([decoding.frame(f) for f in frames])
    found = await core.queries.prediction(f"{prediction_id(1)}/0", "flights")
    rows = {(a["version"], a["role"]): a["out_probabilities"] is None for a in found.answers}
    assert rows == {(1, "answer"): False, (2, "shadow"): True}
