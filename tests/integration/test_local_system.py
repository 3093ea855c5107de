"""The machine of `make up`: one folder, started, found again, broken and mended, stopped."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gyrostat_common.bus import topics
from gyrostat_local import LocalSystem, NotReady
from gyrostat_local.plan import BOOTSTRAP, ROOT, make_plan
from gyrostat_local.readiness import kafka_answers

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gyrostat-local-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gyrostat_local", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200
    )


async def test_all_answer_one_is_killed_and_comes_back_and_nothing_is_left(folder: Path) -> None:
    async with LocalSystem(folder, "free") as system:
        assert [await system.health(name) for name in system.processes] == ["SERVING"] * 5
        assert all(not report.refused for report in await topics.check(system.kafka))
        before = system.processes["registry"].pid
        await system.kill("registry")
        assert await system.health("registry") == "STOPPED"
        await system.start("registry")
        assert await system.health("registry") == "SERVING"
        assert system.processes["registry"].pid != before
        children = list(system.processes.values())
    assert not any(child.alive for child in children)
    assert not kafka_answers(system.address("kafka"))
    assert LocalSystem.running(folder) is None


async def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(folder: Path) -> None:
    system = LocalSystem(folder, "free", {"GYROSTAT_MONITOR__NO_SUCH_SETTING": "1"})
    with pytest.raises(NotReady, match=r"^monitor: GYROSTAT_MONITOR__NO_SUCH_SETTING is not a setting.*exit code 2"):
        await system.up()
    assert system.processes == {}


async def test_up_leaves_it_running_status_finds_it_and_down_ends_it(folder: Path) -> None:
    place = ["--folder", str(folder)]
    assert "nothing runs" in command("status", *place).stdout
    up = command("up", *place, "--ports", "free")
    try:
        assert up.returncode == 0, up.stderr
        state = json.loads((folder / "system.json").read_text())
        for name in ("kafka", "registry", "inference", "monitor", "trainer"):
            assert f"{name} " in up.stdout
        assert up.stdout.count("SERVING") == 5
        assert state["places"]["registry"][0] in up.stdout
        again = command("up", *place, "--ports", "free")
        assert json.loads((folder / "system.json").read_text()) == state
        assert again.stdout.count("SERVING") == 5
        async with grpc.aio.insecure_channel(state["places"]["registry"][0]) as channel:
            async with asyncio.timeout(60):
                await channel.channel_ready()
        assert command("status", *place).returncode == 0
    finally:
        down = command("down", *place)
    assert "stopped: kafka, registry, inference, monitor, trainer" in down.stdout
    assert not kafka_answers(state["bootstrap"])
    assert command("status", *place).returncode == 1


@pytest.fixture(autouse=True)
def _own_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BOOTSTRAP, raising=False)


def test_systems_that_share_a_kafka_share_no_topic(tmp_path: Path) -> None:
    given = {BOOTSTRAP: "kafka.example:9092"}
    one, other = (
        make_plan(tmp_path / name, "free", given).environment["GYROSTAT_KAFKA__TOPIC_PREFIX"] for name in "ab"
    )
    assert one.startswith("a-")
    assert other.startswith("b-")
