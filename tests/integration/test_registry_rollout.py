"""A registry through `open_app`'s wiring: a roll-out from registration to promotion, driven by verdicts alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from gyrostat.events.v1 import events_pb2 as ev
from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from support.registry import DAY, EVENT_TIME, Registry, refused_gates, running

ADVANCE, ROLL_BACK, CONTINUE = ev.VERDICT_ADVANCE, ev.VERDICT_ROLL_BACK, ev.VERDICT_CONTINUE


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(tmp_path) as one:
        yield one


async def two_versions(registry: Registry, **spec: object) -> pb.Rollout:
    await registry.model(**spec)
    first = await registry.version(weight=1.0)
    assert first.rollout.state == pb.ROLLOUT_STATE_PROMOTED
    second = await registry.version(weight=2.0, cause="episode-1", correlation_id="episode-1", causation_id="drift-1")
    return second.rollout


async def test_a_candidate_walks_from_shadow_to_champion_on_verdicts_alone(registry: Registry) -> None:
    rollout = await two_versions(registry)
    assert rollout.state == pb.ROLLOUT_STATE_SHADOW
    plan = await registry.plan()
    assert (plan.phase, plan.judge_version, plan.judge_baseline) == (ev.ROLLOUT_PHASE_SHADOW, 2, 1)
    assert [(s.version.number, s.purpose) for s in plan.shadows] == [(2, "candidate")]
    assert plan.champion.artifact.sha256
    assert plan.champion.artifact.uri.startswith("file://")
    assert plan.champion.signature.inputs[0].shape == [-1, 1]
    at = EVENT_TIME
    seen = []
    for _ in range(4):
        at += DAY
        event = await registry.judge(ADVANCE, at)
        plan = await registry.plan()
        seen.append((plan.phase, plan.canary_weight))
        assert plan.step_started_at.ToDatetime() == at.replace(tzinfo=None)
    canary = ev.ROLLOUT_PHASE_CANARY
    assert seen == [(canary, 100), (canary, 500), (canary, 2500), (ev.ROLLOUT_PHASE_GUARD, 0)]
    assert (plan.champion.number, plan.fallback.number) == (2, 1)
    assert [(s.version.number, s.purpose) for s in plan.shadows] == [(1, "guard")]
    promotion = (await registry.said(ev.ModelPromoted))[-1]
    assert promotion.causation_id == event.id
    assert promotion.correlation_id == "episode-1"
    assert (promotion.payload.version_before, promotion.payload.version_after) == (1, 2)
    await registry.judge(CONTINUE, at + 13 * DAY)
    assert (await registry.plan()).phase == ev.ROLLOUT_PHASE_GUARD
    await registry.judge(CONTINUE, at + 14 * DAY)
    plan = await registry.plan()
    assert plan.phase == ev.ROLLOUT_PHASE_UNSPECIFIED
    assert not plan.shadows
    assert plan.fallback.number == 1
    ended = (await registry.stub.GetRollout(pb.GetRolloutRequest(id=rollout.id))).rollout
    assert ended.state == pb.ROLLOUT_STATE_PROMOTED
    published = [event.payload.revision for event in await registry.said(ev.ServingPlan)]
    assert published == list(range(1, plan.revision + 1))


async def test_harm_under_guard_puts_the_old_champion_back(registry: Registry) -> None:
    await two_versions(registry)
    for day in range(1, 5):
        await registry.judge(ADVANCE, EVENT_TIME + day * DAY)
    event = await registry.judge(ROLL_BACK, EVENT_TIME + 6 * DAY)
    plan = await registry.plan()
    assert (plan.champion.number, plan.phase, list(plan.shadows)) == (1, ev.ROLLOUT_PHASE_UNSPECIFIED, [])
    assert not plan.HasField("fallback")
    back = (await registry.said(ev.ModelPromoted))[-1]
    assert (back.payload.change, back.payload.version_after) == (ev.CHANGE_ROLLED_BACK, 1)
    assert back.causation_id == event.id
    version = await registry.stub.GetModelVersion(pb.GetModelVersionRequest(model="flights", version="2"))
    assert version.version.stage == model_pb2.STAGE_RETIRED


async def test_a_refused_version_is_rejected_and_promoted_only_by_force(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    made = await registry.version(weight=3.0, gates=refused_gates())
    assert made.version.stage == model_pb2.STAGE_REJECTED
    assert not made.HasField("rollout")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await registry.stub.Promote(pb.PromoteRequest(model="flights", number=2))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    done = await registry.stub.Promote(pb.PromoteRequest(model="flights", number=2, force=True, reason="incident"))
    assert done.plan.champion.number == 2
    assert done.rollout.by_hand
    await registry.judge(ROLL_BACK, EVENT_TIME + DAY)
    assert (await registry.plan()).champion.number == 1


async def scraped(registry: Registry) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.app.metrics_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


async def test_the_metrics_say_who_is_live(registry: Registry) -> None:
    await registry.model("weather")
    await registry.version("weather", weight=1.0)
    await registry.version("weather", weight=2.0)
    await registry.judge(ADVANCE, EVENT_TIME + DAY, "weather")
    text = await scraped(registry)
    place = 'environment="production",model="weather"'
    assert f'gyrostat_live_info{{{place},role="champion",version="1"}} 1.0' in text
    assert f'gyrostat_live_info{{{place},role="canary",version="2"}} 1.0' in text
    assert f'{place},role="shadow_candidate"' not in text
    assert f"gyrostat_rollout_step{{{place}}} 1.0" in text
