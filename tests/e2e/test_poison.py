"""Journey: somebody writes into `serving.plan` what nobody can read, while all runs and while all is down."""

from __future__ import annotations

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat_client import AsyncClient, doctor, status
from gyrostat_common.bus import codec
from gyrostat_common.bus.producer import producing
from gyrostat_local import LocalSystem
from support.journeys import a_live_model, client_of, logistic_onnx
from support.system import a_system
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(240)]
ROW = {"speed": [1.0], "load": [0.5]}


async def _poison(system: LocalSystem, key: bytes) -> int:
    async with producing(system.kafka) as producer:
        _, offset = await producer.send_record(codec.Outgoing(topic="serving.plan", key=key, value=b"x", headers=()))
    return offset


async def _alerts(client: AsyncClient) -> list[tuple[str, bool]]:
    """(key of the unreadable state, firing) of every alert so far, oldest first."""
    said = [one.payload async for one in client.events.tail(["alert.raised"], from_beginning=True, follow=False)]
    return [
        (one.alert_id.removeprefix("unreadable-state/serving.plan/"), one.firing)
        for one in said
        if isinstance(one, events_pb2.AlertRaised) and one.rule == "unreadable state"
    ]


async def _failed(client: AsyncClient) -> set[str]:
    return {check.name for check in await doctor.examine(client) if check.state in ("failed", "unreachable")}


async def _promotes(client: AsyncClient, model: str, slope: float) -> None:
    """A change of champion reaches the replica."""
    number = (await client.versions.push(model, logistic_onnx(slope=slope), hold=True)).version.number
    await client.rollouts.promote(model, number, reason="while another key is bad")

    async def answers() -> bool:
        return (await client.inference.predict(model, ROW)).version == str(number)

    await eventually(answers, f"{model}:{number} answers")


async def test_a_record_that_nobody_can_read_is_alarmed_about_mended_and_stops_nothing_else() -> None:
    async with a_system({"GYROSTAT_MONITOR__WATCH_INTERVAL_S": "0.5"}) as system:
        async with client_of(system) as client:
            await a_live_model(client, "owned")
            await a_live_model(client, "other")

            await _poison(system, b"production/owned")
            over = [("production/owned", True), ("production/owned", False)]

            async def mended_by_itself() -> bool:
                return await _alerts(client) == over

            await eventually(mended_by_itself, "the registry writes over its own key, and the alert is over")
            noted = [entry for entry in await client.audit.list("owned") if entry.action == "plan.republish"]
            assert "serving.plan/0 offset" in noted[0].reason

            offset = await _poison(system, b"somebody")
            shown = await eventually(lambda: _firing(client), "status shows the alert")
            assert f"serving.plan/0 offset {offset}, key somebody" in shown.summary
            assert await client.inference.ready("owned")
            await _promotes(client, "other", slope=1.5)
            assert {"registry", "inference", "monitor", "trainer", "alert", "state"} <= await _failed(client)

        await system.down()
        await system.up()  # a site must start with it
        async with client_of(system) as client:
            assert (await client.inference.predict("owned", ROW)).version == "1"
            await _promotes(client, "owned", slope=1.4)
            [would] = await client.plans.repair_topic(dry_run=True)
            assert (would.key, would.action) == (b"somebody", "remove")
            await client.plans.repair_topic(would.key, reason="a stray script")

            async def healthy() -> bool:
                return not await _failed(client)

            await eventually(healthy, "nothing is wrong any more")
            assert await _alerts(client) == [*over, ("somebody", True), ("somebody", False)]


async def _firing(client: AsyncClient) -> status.AlertLine | None:
    alerts = (await status.status(client)).alerts
    return next((one for one in alerts if "key somebody" in one.summary), None)
