"""gRPC health, /readyz and the gauges say the same of a process: a plan that cannot be read alarms and takes no traffic
away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gyrostat_common import bus, rpc
from gyrostat_common.health import Report
from gyrostat_monitor.app import opened as opened_monitor
from gyrostat_monitor.settings import Settings as MonitorSettings
from gyrostat_registry.app import opened as opened_registry
from gyrostat_registry.settings import Settings as RegistrySettings
from support.trainer import running_trainer
from support.waiting import eventually

FREE = {"grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"}


@asynccontextmanager
async def running(service: str, folder: Path, log: bus.MemoryBus) -> AsyncIterator[tuple[int, int]]:
    """gRPC and HTTP port of a service on the bus."""
    if service == "registry":
        async with opened_registry(RegistrySettings(data={"folder": folder}, **FREE), log) as registry:  # type: ignore[arg-type]
            yield registry.port, registry.metrics_port
    elif service == "monitor":
        async with opened_monitor(MonitorSettings(data={"folder": folder}, **FREE), log) as monitor:  # type: ignore[arg-type]
            yield monitor.port, monitor.metrics_port
    else:
        async with running_trainer(folder, log, "127.0.0.1:1") as trainer:
            yield trainer.grpc_port, trainer.metrics_port


@pytest.mark.parametrize("service", ["registry", "monitor", "trainer"])
async def test_a_plan_that_cannot_be_read_alarms_everywhere_and_takes_no_traffic_away(
    tmp_path: Path, service: str
) -> None:
    log = bus.MemoryBus()
    async with (
        running(service, tmp_path, log) as (port, http_port),
        rpc.connect(f"127.0.0.1:{port}") as channel,
        aiohttp.ClientSession(f"http://127.0.0.1:{http_port}") as http,
    ):

        async def page(path: str) -> tuple[int, str]:
            async with http.get(path) as reply:
                return reply.status, await reply.text()

        assert await rpc.ask_health(channel) == Report()
        assert await page("/readyz") == (200, "ready\n")
        await log.append(bus.codec.Outgoing(topic="serving.plan", key=b"production/fraud", value=b"\xff", headers=()))

        async def alarmed() -> bool:
            return (await rpc.ask_health(channel)).word == "alarmed"

        await eventually(alarmed)
        report = await rpc.ask_health(channel)
        assert "production/fraud" in report.problems["serving.plan"]
        assert await page("/readyz") == (200, f"{report.sentence}\n")
        _, metrics = await page("/metrics")
        assert 'gyrostat_problem{problem="serving.plan"} 1.0' in metrics
        assert "gyrostat_ready 1.0" in metrics
