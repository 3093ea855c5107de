"""Journey: things go away and come back. A system of its own for each test: these are not kind to their neighbours."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from gyrostat.registry.v1 import registry_pb2
from gyrostat_client import AsyncClient
from gyrostat_common.errors import GyrostatError
from gyrostat_local import LocalSystem
from support.journeys import Traffic, a_live_model, archive_rows, client_of, logistic_onnx, spec
from support.system import a_system
from support.waiting import becomes, eventually

pytestmark = [pytest.mark.timeout(240)]


async def _all_archived(system: LocalSystem, model: str, traffic: Traffic) -> None:
    """Every row that was answered is in the archive as an answer, and no row is there twice."""
    sent = set(traffic.sent)

    def missing() -> int:
        return len(sent - {name for name, _, role in archive_rows(system, model) if role == "answer"})

    await becomes(missing, 0)
    rows = archive_rows(system, model)
    assert len(rows) == len(set(rows))


class Backend:
    """Calls and tells outcomes without end; what fails is tried again with new rows."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.answered = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        while not self.stop.is_set():
            try:
                await self.traffic.send(rows=10)
                self.answered += 1
            except GyrostatError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), 0.05)


async def test_each_process_may_restart_in_mid_rollout_and_the_loop_closes_all_the_same() -> None:
    async with a_system(own_kafka=True) as system, client_of(system) as client:
        await a_live_model(client, "steady", model_spec=spec(min_exposure=20, max_step_s=6 * 3600))
        pushed = await client.versions.push("steady", logistic_onnx(slope=2.02), hold=True)
        rollout = await client.rollouts.start("steady", pushed.version.number, reason="as good, and newer")
        backend = Backend(Traffic(client, "steady"))
        running = asyncio.create_task(backend.run())
        for name in ("registry", "monitor", "trainer", "kafka", "inference"):
            before = backend.answered
            await system.restart(name)
            await eventually(lambda before=before: _more(backend, before), f"answers go on after {name} restarted")
            assert not running.done()

        async def state() -> str:
            return registry_pb2.RolloutState.Name((await client.rollouts.get(rollout.id)).state)

        await becomes(state, "ROLLOUT_STATE_GUARD", within_s=150)
        backend.stop.set()
        await running
        await _all_archived(system, "steady", backend.traffic)


async def _more(backend: Backend, before: int) -> bool:
    return backend.answered > before


async def test_inference_starts_and_serves_with_registry_and_kafka_down_and_ships_later() -> None:
    async with a_system(own_kafka=True) as system, client_of(system) as client:
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
    async with a_system(own_kafka=True) as system, client_of(system) as client:
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
    pushed = await client.versions.push("waiting", logistic_onnx(), hold=True)
    await client.rollouts.promote("waiting", pushed.version.number, reason="first")
    await eventually(lambda: client.inference.ready("waiting"), "it answers")
