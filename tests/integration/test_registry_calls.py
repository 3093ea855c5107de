"""What a caller can ask of the registry, and what it refuses."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from gyrostat.events.v1 import events_pb2 as ev
from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_common import bus
from gyrostat_common.times import to_proto
from support.registry import DAY, EVENT_TIME, NOON, Registry, a_spec, onnx_bytes, passing_gates, running

EPISODE = "6f1c0b52-0a40-5b3e-8d6e-0f3f0c7a9d11"
PROPOSE, OFF, ON = (getattr(model_pb2, f"AUTOPILOT_MODE_{mode}") for mode in ("PROPOSE", "OFF", "ON"))


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(tmp_path, largest_artifact_bytes=1_000_000) as one:
        yield one


async def refused(call: Any, code: grpc.StatusCode, words: str = "") -> str:
    """The reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() is code, error.value.details()
    assert words in (error.value.details() or "")
    trailing = {key: str(value) for key, value in (error.value.trailing_metadata() or ())}
    return trailing["error-reason"]


def upload(*parts: Any) -> Any:
    return iter([pb.UploadArtifactRequest(**part) for part in parts])


async def test_a_model_comes_back_with_its_defaults_and_its_spec_is_guarded(registry: Registry) -> None:
    made = await registry.model()
    assert made.spec.revision == 1
    assert list(made.spec.rollout.steps) == [100, 500, 2500, 10000]
    assert made.created_by == "ann"
    changed = await registry.stub.UpdateModelSpec(
        pb.UpdateModelSpecRequest(model="flights", spec=a_spec(team="ops"), expected_revision=1)
    )
    assert (changed.model.spec.revision, changed.model.spec.team) == (2, "ops")
    late = pb.UpdateModelSpecRequest(model="flights", spec=a_spec(team="late"), expected_revision=1)
    reason = await refused(registry.stub.UpdateModelSpec(late), grpc.StatusCode.FAILED_PRECONDITION, "revision 2")
    assert reason.upper().replace("_", "") == "REVISIONMISMATCH"
    again = pb.CreateModelRequest(name="flights", spec=a_spec())
    await refused(registry.stub.CreateModel(again), grpc.StatusCode.ALREADY_EXISTS)
    for bad in (pb.CreateModelRequest(name="No", spec=a_spec()), pb.CreateModelRequest(name="no")):
        await refused(registry.stub.CreateModel(bad), grpc.StatusCode.INVALID_ARGUMENT)


async def test_artifacts_by_stream(registry: Registry) -> None:
    content = b"x" * 500_000
    digest = hashlib.sha256(content).hexdigest()
    assert await registry.upload(content, "report.html") == digest
    assert await registry.upload(content, "again.html") == digest
    stream = registry.stub.DownloadArtifact(pb.DownloadArtifactRequest(sha256=digest))
    assert b"".join([part.chunk async for part in stream]) == content
    bad = grpc.StatusCode.INVALID_ARGUMENT
    wrong = upload({"header": {"name": "m", "sha256": "0" * 64}}, {"chunk": b"abc"})
    await refused(registry.stub.UploadArtifact(wrong), bad, "the bytes have")
    cut = upload({"header": {"name": "m", "size_bytes": 10}}, {"chunk": b"abc"})
    await refused(registry.stub.UploadArtifact(cut), bad, "cut short")
    await refused(registry.stub.UploadArtifact(upload({"header": {"size_bytes": 2_000_000}})), bad, "too large")
    big = upload({"header": {"name": "m"}}, *[{"chunk": b"x" * 400_000}] * 3)
    await refused(registry.stub.UploadArtifact(big), bad, "larger than")
    await refused(registry.stub.UploadArtifact(upload({"header": {"name": "m"}})), bad, "empty")
    await refused(registry.stub.UploadArtifact(upload({"chunk": b"abc"})), bad, "header")
    missing = registry.stub.DownloadArtifact(pb.DownloadArtifactRequest(sha256="1" * 64))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await missing.read()
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_versions_that_cannot_be(registry: Registry) -> None:
    await registry.model()
    bad, lost = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    register = registry.stub.CreateModelVersion
    text = await registry.upload(b"not a model at all")
    cut = await registry.upload(onnx_bytes()[:60])
    good = await registry.upload(onnx_bytes())
    for sha256 in (text, cut):
        await refused(register(pb.CreateModelVersionRequest(model="flights", artifact_sha256=sha256)), bad, "cannot be")
    await refused(register(pb.CreateModelVersionRequest(model="flights", artifact_sha256="f" * 64)), lost)
    await refused(register(pb.CreateModelVersionRequest(model="flights", artifact_sha256="F")), bad)
    await refused(register(pb.CreateModelVersionRequest(model="ghost", artifact_sha256=good)), lost, "ghost")
    profile = pb.CreateModelVersionRequest(model="flights", artifact_sha256=good, profile_sha256=text)
    await refused(register(profile), bad, "not JSON")
    declared = pb.CreateModelVersionRequest(model="flights", artifact_sha256=good)
    declared.signature.inputs.add(name="y", datatype="FP32")
    await refused(register(declared), bad, "declared")
    spec = a_spec(score_output="nope")
    await registry.stub.UpdateModelSpec(pb.UpdateModelSpecRequest(model="flights", spec=spec))
    await refused(register(pb.CreateModelVersionRequest(model="flights", artifact_sha256=good)), bad, "score_output")
    listed = await registry.stub.ListModelVersions(pb.ListModelVersionsRequest(model="flights"))
    assert not listed.versions
    await refused(registry.stub.GetModelVersion(pb.GetModelVersionRequest(model="flights", version="1")), lost)
    await refused(registry.stub.GetModelVersion(pb.GetModelVersionRequest(model="flights", version="best")), lost)
    await refused(registry.stub.GetPlan(pb.GetPlanRequest(model="flights")), lost, "not been live")
    await refused(registry.stub.Promote(pb.PromoteRequest(model="flights", number=9)), lost)


async def test_archived_versions_stay_away_and_used_ones_cannot_be_archived(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0, hold=True)
    archive, state = registry.stub.ArchiveModelVersion, grpc.StatusCode.FAILED_PRECONDITION
    await refused(archive(pb.ArchiveModelVersionRequest(model="flights", number=1)), state, "in the plan")
    done = await archive(pb.ArchiveModelVersionRequest(model="flights", number=2))
    assert done.version.stage == model_pb2.STAGE_ARCHIVED
    promote = registry.stub.Promote(pb.PromoteRequest(model="flights", number=2, force=True, reason="please"))
    await refused(promote, state, "archived")
    await refused(registry.stub.StartRollout(pb.StartRolloutRequest(model="flights", number=2)), state, "archived")
    await refused(registry.stub.SetAlias(pb.SetAliasRequest(model="flights", alias="a", number=2)), state)


async def test_aliases_and_shadows_travel_in_the_plan(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0, hold=True)
    await registry.stub.PinShadow(pb.PinShadowRequest(model="flights", number=2, pinned=True))
    await registry.stub.SetAlias(pb.SetAliasRequest(model="flights", alias="frozen", number=2))
    plan = await registry.plan()
    [shadow] = plan.shadows
    assert (shadow.version.number, shadow.pinned, list(shadow.version.aliases)) == (2, True, ["frozen"])
    await registry.version(weight=3.0)
    shown = [(s.version.number, s.purpose) for s in (await registry.plan()).shadows]
    assert shown == [(2, "pinned"), (3, "candidate")]
    model = (await registry.stub.GetModel(pb.GetModelRequest(name="flights"))).model
    assert dict(model.aliases) == {"champion": 1, "challenger": 3, "frozen": 2, "latest": 3}
    for reference, number in (("champion", 1), ("challenger", 3), ("frozen", 2), ("latest", 3), ("2", 2)):
        found = await registry.stub.GetModelVersion(pb.GetModelVersionRequest(model="flights", version=reference))
        assert found.version.number == number
    bad = registry.stub.SetAlias(pb.SetAliasRequest(model="flights", alias="champion", number=2))
    await refused(bad, grpc.StatusCode.INVALID_ARGUMENT)
    await registry.stub.PinShadow(pb.PinShadowRequest(model="flights", number=2, pinned=False))
    assert [s.purpose for s in (await registry.plan()).shadows] == ["candidate"]


async def test_plans_as_of_a_time_and_as_a_stream(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    watch = registry.stub.WatchPlans(pb.WatchPlansRequest())
    assert (await watch.read()).plan.revision == 1
    registry.clock.advance(timedelta(hours=1))
    await registry.version(weight=2.0)
    seen = (await watch.read()).plan
    assert (seen.revision, seen.phase) == (2, ev.ROLLOUT_PHASE_SHADOW)
    before = pb.GetPlanRequest(model="flights", at=to_proto(NOON + timedelta(minutes=30)))
    assert (await registry.stub.GetPlan(before)).plan.revision == 1
    early = pb.GetPlanRequest(model="flights", at=to_proto(NOON - DAY))
    await refused(registry.stub.GetPlan(early), grpc.StatusCode.NOT_FOUND)
    history = await registry.stub.ListPlans(pb.ListPlansRequest(model="flights", page_size=1))
    assert [plan.revision for plan in history.plans] == [2]
    rest = await registry.stub.ListPlans(pb.ListPlansRequest(model="flights", page_token=history.next_page_token))
    assert [plan.revision for plan in rest.plans] == [1]
    assert not rest.next_page_token
    watch.cancel()


async def test_autopilot_off_freezes_and_propose_waits_for_a_person(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0)
    await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + DAY)
    await registry.stub.SetAutopilot(pb.SetAutopilotRequest(mode=OFF, reason="night"))
    await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + 2 * DAY)
    assert (await registry.plan()).canary_weight == 100
    open_ones = await registry.stub.ListRollouts(pb.ListRolloutsRequest(model="flights", open_only=True))
    assert [rollout.held for rollout in open_ones.rollouts] == [True]
    state = await registry.stub.GetAutopilot(pb.GetAutopilotRequest(model="flights"))
    assert (state.model_mode, state.global_mode, state.effective) == (ON, OFF, OFF)
    start = registry.stub.StartRollout(pb.StartRolloutRequest(model="flights", number=2))
    await refused(start, grpc.StatusCode.FAILED_PRECONDITION, "autopilot")
    waiting = await registry.version(weight=3.0)
    assert waiting.rollout.state == pb.ROLLOUT_STATE_WAITING
    await registry.judge(ev.VERDICT_ROLL_BACK, EVENT_TIME + 3 * DAY)
    plan = await registry.plan()
    assert (plan.champion.number, plan.canary_weight, plan.phase) == (1, 0, ev.ROLLOUT_PHASE_UNSPECIFIED)
    await registry.stub.SetAutopilot(pb.SetAutopilotRequest(mode=PROPOSE, reason="morning"))
    proposed = (await registry.stub.GetRollout(pb.GetRolloutRequest(id=waiting.rollout.id))).rollout
    assert proposed.state == pb.ROLLOUT_STATE_PROPOSED
    approved = await registry.stub.ApproveRollout(pb.ApproveRolloutRequest(rollout_id=proposed.id, reason="fine"))
    assert approved.rollout.state == pb.ROLLOUT_STATE_SHADOW
    assert list(approved.rollout.approvals) == ["ann"]
    again = registry.stub.ApproveRollout(pb.ApproveRolloutRequest(rollout_id=proposed.id))
    await refused(again, grpc.StatusCode.FAILED_PRECONDITION)


async def test_one_open_rollout_and_a_newer_candidate_replaces_the_waiting_one(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    made = [await registry.version(weight=float(n)) for n in (2, 3, 4)]
    states = [(await registry.stub.GetRollout(pb.GetRolloutRequest(id=one.rollout.id))).rollout.state for one in made]
    assert states == [pb.ROLLOUT_STATE_SHADOW, pb.ROLLOUT_STATE_SUPERSEDED, pb.ROLLOUT_STATE_WAITING]
    await registry.judge(ev.VERDICT_ROLL_BACK, EVENT_TIME + DAY)
    plan = await registry.plan()
    assert (plan.phase, plan.judge_version) == (ev.ROLLOUT_PHASE_SHADOW, 4)


async def test_three_automatic_promotions_in_a_week_and_then_a_person_decides(registry: Registry) -> None:
    quick = model_pb2.RolloutPolicy(steps=[10_000], guard_s=1)
    await registry.model(rollout=quick)
    at = EVENT_TIME
    await registry.version(weight=1.0)
    for n in (2, 3):
        started = await registry.version(weight=float(n), event_time=to_proto(at))
        assert started.rollout.state == pb.ROLLOUT_STATE_SHADOW
        at += DAY
        await registry.judge(ev.VERDICT_ADVANCE, at)
        await registry.judge(ev.VERDICT_CONTINUE, at + timedelta(seconds=2))
    assert (await registry.plan()).champion.number == 3
    held_up = await registry.version(weight=4.0, event_time=to_proto(at))
    assert held_up.rollout.state == pb.ROLLOUT_STATE_PROPOSED
    [alert] = await registry.said(ev.AlertRaised)
    assert alert.payload.model == "flights"
    later = await registry.version(weight=5.0, event_time=to_proto(at + 10 * DAY))
    assert later.rollout.state == pb.ROLLOUT_STATE_SHADOW


async def test_by_hand_promote_roll_back_retire(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0, hold=True)
    state = grpc.StatusCode.FAILED_PRECONDITION
    stale = pb.PromoteRequest(model="flights", number=2, expected_revision=7)
    await refused(registry.stub.Promote(stale), state, "revision 1")
    await refused(registry.stub.Rollback(pb.RollbackRequest(model="flights")), state, "no previous champion")
    request = pb.PromoteRequest(model="flights", number=2, event_time=to_proto(EVENT_TIME + DAY), reason="release")
    done = await registry.stub.Promote(request)
    assert (done.plan.phase, done.plan.judge_version) == (ev.ROLLOUT_PHASE_GUARD, 2)
    assert done.plan.rollout_started_at == to_proto(EVENT_TIME + DAY)
    await refused(registry.stub.Promote(pb.PromoteRequest(model="flights", number=2)), state, "champion")
    promotion = (await registry.said(ev.ModelPromoted))[-1]
    assert (promotion.payload.actor, promotion.causation_id) == ("ann", "")
    back = await registry.stub.Rollback(pb.RollbackRequest(model="flights", reason="bad"))
    assert (back.plan.champion.number, back.rollout.state) == (1, pb.ROLLOUT_STATE_ROLLED_BACK)
    gone = await registry.stub.RetireModel(pb.RetireModelRequest(model="flights", reason="over"))
    assert not gone.plan.HasField("champion")
    assert (await registry.said(ev.ModelPromoted))[-1].payload.change == ev.CHANGE_RETIRED
    await refused(registry.stub.RetireModel(pb.RetireModelRequest(model="flights")), state)
    offered = await registry.version(weight=3.0)
    assert offered.rollout.state == pb.ROLLOUT_STATE_PROPOSED


async def test_environments_are_apart(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    staging = pb.CreateEnvironmentRequest(environment=pb.Environment(name="staging"))
    await registry.stub.CreateEnvironment(staging)
    done = await registry.stub.Promote(pb.PromoteRequest(model="flights", number=1, environment="staging"))
    assert (done.plan.environment, done.plan.revision) == ("staging", 1)
    listed = await registry.stub.ListPlans(pb.ListPlansRequest(environment="staging"))
    assert [plan.environment for plan in listed.plans] == ["staging"]
    nowhere = pb.PromoteRequest(model="flights", number=1, environment="moon")
    await refused(registry.stub.Promote(nowhere), grpc.StatusCode.NOT_FOUND, "moon")
    names = await registry.stub.ListEnvironments(pb.ListEnvironmentsRequest())
    assert [one.name for one in names.environments] == ["production", "staging"]


async def test_lineage_from_a_promotion_to_the_predictions_that_caused_it(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    payload = ev.DriftDetected(
        episode_id=EPISODE, model="flights", version=1, kind=ev.DRIFT_KIND_PERFORMANCE,
        state=ev.EPISODE_STATE_CONFIRMED, watermark=to_proto(EVENT_TIME), exemplars=["0192/3"], summary="worse",
    )  # fmt: skip
    drift = bus.Event(
        payload=payload,
        key="flights",
        subject="flights:1",
        source="gyrostat-monitor",
        time=NOON,
        correlation_id=EPISODE,
    )
    await registry.say(drift)
    run = model_pb2.Run(id="run-7", model="flights", causes=[EPISODE])
    run.snapshot.rows = 900
    await registry.stub.CreateRun(pb.CreateRunRequest(run=run))
    await registry.version(weight=2.0, run_id="run-7", cause=EPISODE, correlation_id=EPISODE, causation_id=drift.id)
    for day in range(1, 5):
        judged = await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + day * DAY)
    found = await registry.stub.GetLineage(pb.GetLineageRequest(model="flights", version="champion"))
    by_kind = {node.kind: node for node in found.nodes}
    assert not found.missing
    assert {"promotion", "rollout", "judgement", "version", "run", "snapshot", "episode", "parent"} <= set(by_kind)
    assert "0192/3" in by_kind["episode"].text
    assert judged.id in by_kind["promotion"].text
    first = await registry.stub.GetLineage(pb.GetLineageRequest(model="flights", version="1"))
    assert any(text.startswith("run") for text in first.missing)
    audit = await registry.stub.ListAudit(pb.ListAuditRequest(model="flights"))
    moved = next(entry for entry in audit.entries if entry.action == "rollout.advance")
    assert (moved.actor, moved.correlation_id, moved.causation_id) == ("registry", EPISODE, judged.id)
    assert not [entry for entry in audit.entries if entry.action in ("Promote", "StartRollout")]


async def test_verdicts_that_change_nothing(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0)
    advance = ev.VERDICT_ADVANCE
    await registry.judge(advance, EVENT_TIME + DAY, plan_revision=1)
    await registry.judge(advance, EVENT_TIME + DAY, rollout_id="another")
    await registry.judge(advance, EVENT_TIME + DAY, version=1)
    await registry.judge(ev.VERDICT_UNSPECIFIED, EVENT_TIME + DAY)
    event = await registry.judge(ev.VERDICT_CONTINUE, EVENT_TIME + DAY)
    assert (await registry.plan()).revision == 2
    assert len(registry.log.records("registry.dlq")) == 1
    moved = await registry.judge(advance, EVENT_TIME + DAY)
    await registry.say(moved)
    await registry.say(event)
    assert (await registry.plan()).revision == 3


async def test_replicas_are_shown_as_they_last_were(registry: Registry) -> None:
    for revision in (1, 2):
        payload = ev.PlanApplied(replica="r1", at=to_proto(NOON + revision * DAY), revisions={"flights": revision})
        beat = bus.Event(payload=payload, key="r1", subject="r1", source="gyrostat-inference", time=NOON)
        await registry.say(beat)
    listed = await registry.stub.ListReplicas(pb.ListReplicasRequest())
    assert [dict(replica.revisions) for replica in listed.replicas] == [{"flights": 2}]


async def test_lists_go_by_pages(registry: Registry) -> None:
    for name in ("a", "b", "c"):
        await registry.model(name)
    token, names = "", []
    for _ in range(3):
        listed = await registry.stub.ListModels(pb.ListModelsRequest(page_size=1, page_token=token))
        names += [model.name for model in listed.models]
        token = listed.next_page_token
    assert (names, token) == (["a", "b", "c"], "")
    foreign = registry.stub.ListModels(pb.ListModelsRequest(page_token="zzz"))
    await refused(foreign, grpc.StatusCode.INVALID_ARGUMENT)
    await refused(registry.stub.ListAudit(pb.ListAuditRequest(page_size=5_000)), grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_spec_that_no_plan_can_carry_is_refused(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    labels = {f"label{n}": "x" * 2_000 for n in range(600)}
    huge = pb.UpdateModelSpecRequest(model="flights", spec=a_spec(labels=labels))
    await refused(registry.stub.UpdateModelSpec(huge), grpc.StatusCode.INVALID_ARGUMENT, "at most 1000000")
    assert (await registry.stub.GetModel(pb.GetModelRequest(name="flights"))).model.spec.revision == 1


async def test_passing_gates_without_a_champion_go_live_at_once(registry: Registry) -> None:
    await registry.model()
    alone = "there is no champion to be compared with"
    gates = [
        model_pb2.GateResult(gate=gate.gate, not_measured=alone) if gate.gate in ("quality", "latency") else gate
        for gate in passing_gates()
    ]
    made = await registry.version(gates=gates)
    assert made.version.stage == model_pb2.STAGE_CHAMPION
    said = {gate.gate: gate for gate in made.version.gates}
    assert said["quality"].reason == f"not measured: {alone}"
    assert said["quality"].not_measured == alone
    pushed = await registry.version(weight=2.0, gates=[])
    assert not pushed.HasField("rollout")


async def test_numbers_that_never_came_are_no_evidence(registry: Registry) -> None:
    await registry.model()
    made = await registry.version(gates=[model_pb2.GateResult(gate="size", numbers={"bytes": 1})])
    assert made.version.stage == model_pb2.STAGE_REJECTED
    assert "parity: label_flips did not come, and its threshold is 0" in made.version.stage_reason
    assert not made.HasField("rollout")


async def test_a_spec_does_without_a_default_threshold_by_asking_for_nothing(registry: Registry) -> None:
    names = ("parity.max_difference", "parity.label_flips")
    without = [model_pb2.GateThreshold(number=name, at_most=float("inf")) for name in names]
    await registry.model(rollout=model_pb2.RolloutPolicy(gates=without))
    gates = [gate for gate in passing_gates() if gate.gate != "parity"]
    gates.append(model_pb2.GateResult(gate="parity", numbers={"rows": 0}, reason="no parity.parquet"))
    made = await registry.version(gates=gates)
    assert made.version.stage == model_pb2.STAGE_CHAMPION, made.version.stage_reason
    kept = (await registry.stub.GetModel(pb.GetModelRequest(name="flights"))).model.spec.rollout.gates
    assert {gate.number for gate in kept if gate.at_most == float("inf")} == set(names)
