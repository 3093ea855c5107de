"""Journey: things go away and come back. A system of its own for each test: these are not kind to their neighbours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gyrostat_client import AsyncClient
from gyrostat_local import LocalSystem
from support.journeys import Traffic, a_live_model, archive_rows, client_of, eventually, spec
from support.system import a_system

pytestmark = [pytest.mark.timeout(240)]


async def _all_archived(system: LocalSystem, model: str, traffic: Traffic) -> None:
    """Every row that was answered is in the archive exactly once."""

    async def there() -> bool:
        return len(archive_rows(system, model)) >= len(traffic.sent)

    await eventually(there, f"{len(traffic.sent)} rows of {model} are archived")
    rows = archive_rows(system, model)
    assert sorted(name for name, _, _ in rows) == sorted(traffic.sent)


async def _steady(traffic: Traffic, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await traffic.send(rows=5, outcomes=False)


async def test_each_service_and_the_broker_may_restart_in_mid_traffic() -> None:
    async with a_system() as system, client_of(system) as client:
        await a_live_model(client, "steady")
        traffic = Traffic(client, "steady")
        stop = asyncio.Event()
        running = asyncio.create_task(_steady(traffic, stop))
        for name in ("registry", "monitor", "trainer", "kafka"):
            before = len(traffic.sent)
            await system.restart(name)
            await eventually(lambda before=before: _more(traffic, before), f"answers go on after {name} restarted")
            assert not running.done(), running.exception()
        stop.set()
        await running
        await system.restart("inference")
        await traffic.send(rows=5, outcomes=False)
        await _all_archived(system, "steady", traffic)


async def _more(traffic: Traffic, before: int) -> bool:
    return len(traffic.sent) > before


async def test_inference_starts_and_serves_with_registry_and_kafka_down_and_ships_later() -> None:
    async with a_system() as system, client_of(system) as client:
        await a_live_model(client, "alone")
        traffic = Traffic(client, "alone")
        await traffic.send(outcomes=False)
        for name in ("inference", "registry", "kafka"):
            await system.stop(name)
        await system.start("inference")
        for _ in range(10):
            await traffic.send(outcomes=False)
        await system.start("kafka")
        await system.start("registry")
        await _all_archived(system, "alone", traffic)


async def test_all_services_start_before_the_broker_and_find_it_when_it_comes(tmp_path: Path) -> None:
    async with a_system() as system, client_of(system) as client:
        for name in ("registry", "monitor", "trainer", "inference", "kafka"):
            await system.stop(name)
        for name in ("registry", "monitor", "trainer", "inference"):
            await system.start(name, wait=False)
        created = await eventually(lambda: _try_create(client), "the registry takes a model without Kafka")
        assert created
        await system.start("kafka")
        for name in ("registry", "monitor", "trainer", "inference"):
            await system.ready(name)
        await _promoted(client)
        traffic = Traffic(client, "waiting")
        await traffic.send()
        await _all_archived(system, "waiting", traffic)


async def _try_create(client: AsyncClient) -> bool:
    from gyrostat_common.errors import Unavailable

    try:
        await client.models.create("waiting", spec(), request_id="create-waiting")
    except Unavailable:
        return False
    return True


async def _promoted(client: AsyncClient) -> None:
    from support.journeys import logistic_onnx

    pushed = await client.versions.push("waiting", logistic_onnx(), hold=True)
    await client.rollouts.promote("waiting", pushed.version.number, reason="first")
    await eventually(lambda: client.inference.ready("waiting"), "it answers")
