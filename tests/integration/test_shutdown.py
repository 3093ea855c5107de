"""The end of each service: in order, in time, with a line; also when Kafka dies at the same moment."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gyrostat_local import KAFKA, SERVICES, LocalSystem

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gyrostat-shutdown-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def lines(system: LocalSystem, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in system.log(name).splitlines() if line.startswith("{")]


async def ended(system: LocalSystem, name: str) -> tuple[int | None, str, object]:
    """Asks a service to stop; its exit code, its last event and the code it says there."""
    child = system.processes[name]
    child.signal(signal.SIGTERM)
    assert await child.ended(33.0), f"{name} hangs"
    last = lines(system, name)[-1]
    return child.exit_code, str(last["event"]), last.get("exit_code")


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP])
async def test_every_service_ends_in_time_when_kafka_dies_at_the_same_moment(
    folder: Path, death: signal.Signals
) -> None:
    async with LocalSystem(folder, "free", {"GYROSTAT_LOG__FORMAT": "json"}) as system:
        system.processes[KAFKA].signal(death)
        ends = await asyncio.gather(*(ended(system, name) for name in SERVICES))
        await system.kill(KAFKA)
    said_last = {name: system.log(name)[-3_000:] for name, end in zip(SERVICES, ends, strict=True) if end[0] != 0}
    assert ends == [(0, "stopped", 0)] * len(SERVICES), said_last
    for name in SERVICES:
        text = system.log(name)
        said = [line["event"] for line in lines(system, name) if line["logger_name"] != "aiokafka"]
        order = [said.index(event) for event in ("listening", "serving", "started", "stopping", "stopped")]
        assert order == sorted(order), said
        assert "not_ready" in said[order[3] :], said
        # No traceback. (Of a connection that was being opened to the dead broker the client library says "Unclosed …".)
        assert all(line.startswith("{") for line in text.splitlines()), text
