"""Journey: a candidate goes live by shadow and canary on evidence, and is taken back; autopilot off freezes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client import AsyncClient
from support.journeys import Traffic, a_live_model, logistic_onnx, spec
from support.waiting import becomes, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

CANARY = registry_pb2.ROLLOUT_STATE_CANARY
GUARD = registry_pb2.ROLLOUT_STATE_GUARD


async def _until(client: AsyncClient, traffic: Traffic, fact: Callable[[], Awaitable[bool]], what: str) -> None:
    """Send traffic until a fact is true."""

    async def step() -> bool:
        await asyncio.gather(*(traffic.send(rows=10) for _ in range(6)))
        return await fact()

    await eventually(step, what, within_s=150)


async def test_an_equal_candidate_climbs_to_champion_and_a_worse_one_released_by_hand_is_taken_back(
    client: AsyncClient,
) -> None:
    await a_live_model(client, "climb")
    traffic = Traffic(client, "climb")
    pushed = await client.versions.push("climb", logistic_onnx(slope=2.02), hold=True)
    started = await client.rollouts.start("climb", pushed.version.number, reason="as good, and newer")

    async def at_the_top() -> bool:
        return (await client.rollouts.get(started.id)).state == GUARD

    await _until(client, traffic, at_the_top, "version 2 is champion")
    weights = [step.weight for step in (await client.rollouts.get(started.id)).steps if step.state == CANARY]
    assert weights == [100, 500, 2500]
    assert (await client.plans.get("climb")).champion.number == 2

    bad = await client.versions.push("climb", logistic_onnx(slope=-2.0), hold=True)
    await client.rollouts.promote("climb", bad.version.number, reason="a mistake")
    assert (await client.plans.get("climb")).champion.number == 3

    async def taken_back() -> bool:
        return (await client.plans.get("climb")).champion.number == 2

    await _until(client, traffic, taken_back, "version 2 is champion again")
    changes = [entry.action for entry in await client.audit.list("climb")]
    assert "Promote" in changes
    promoted = [
        e async for e in client.events.tail(["model.promoted"], model="climb", from_beginning=True, follow=False)
    ]
    assert [(e.payload.version_after, e.payload.change) for e in promoted] == [
        (1, events_pb2.CHANGE_PROMOTED),
        (2, events_pb2.CHANGE_PROMOTED),
        (3, events_pb2.CHANGE_PROMOTED),
        (2, events_pb2.CHANGE_ROLLED_BACK),
    ]


async def test_autopilot_off_in_mid_canary_freezes_the_weights_and_rollback_still_works(client: AsyncClient) -> None:
    await a_live_model(client, "frozen", model_spec=spec(min_exposure=10_000, max_step_s=4 * 3600))
    traffic = Traffic(client, "frozen")
    pushed = await client.versions.push("frozen", logistic_onnx(slope=2.02), hold=True)
    started = await client.rollouts.start("frozen", pushed.version.number, reason="freeze me")

    async def in_canary() -> bool:
        return (await client.rollouts.get(started.id)).state == CANARY

    await _until(client, traffic, in_canary, "the canary has begun")
    switched = time.monotonic()
    await client.models.set_autopilot("off", "frozen", reason="an incident elsewhere")
    settled = await client.plans.get("frozen")

    async def answering() -> int:
        answer = await client.inference.predict("frozen", {"speed": [0.1], "load": [0.0]}, event_time=traffic.now)
        return answer.revision

    await becomes(answering, settled.revision)
    # The promise is two seconds: what was on its way when the switch was turned is served by then, and nothing after.
    assert time.monotonic() - switched < 2.0
    # Ten hours of event time go by: enough for two more steps, were it not held.
    for _ in range(60):
        await asyncio.gather(*(traffic.send(rows=10) for _ in range(10)))
    held = await client.rollouts.get(started.id)
    assert held.held
    after = await client.plans.get("frozen")
    assert (after.revision, after.canary_weight) == (settled.revision, settled.canary_weight)

    await client.rollouts.rollback("frozen", reason="by hand, autopilot off or not")
    plan = await client.plans.get("frozen")
    assert (plan.champion.number, plan.canary_weight, plan.HasField("canary")) == (1, 0, False)


async def test_promote_and_rollback_by_hand_leave_a_history(client: AsyncClient) -> None:
    await a_live_model(client, "history")
    pushed = await client.versions.push("history", logistic_onnx(slope=1.5), hold=True)
    await client.rollouts.promote("history", pushed.version.number, reason="trying")

    async def answers(version: str) -> bool:
        return (await client.inference.predict("history", {"speed": [0.1], "load": [0.0]})).version == version

    await eventually(lambda: answers("2"), "version 2 answers")
    await client.rollouts.rollback("history", reason="tried")
    await eventually(lambda: answers("1"), "version 1 answers again")
    plans = await client.plans.list("history")
    assert plans[0].champion.number == 1
    assert [plan.revision for plan in plans] == sorted((plan.revision for plan in plans), reverse=True)
    stages = {version.number: version.stage for version in await client.versions.list("history")}
    assert stages == {1: model_pb2.STAGE_CHAMPION, 2: model_pb2.STAGE_RETIRED}
