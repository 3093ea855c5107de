"""Kills during traffic; at the end nothing is lost, nothing is twice, and the books balance.

One seed and one order of kills. The invariants do not depend on the timing.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from gyrostat_client import AsyncClient
from gyrostat_common.errors import GyrostatError
from gyrostat_local import LocalSystem
from support.journeys import Traffic, a_live_model, archive_rows, client_of, logistic_onnx
from support.system import a_system
from support.waiting import becomes, eventually

pytestmark = [pytest.mark.timeout(300)]

KILLS = ("monitor", "inference", "shipper", "kafka", "registry", "monitor", "inference")


class Caller:
    """Calls without end; a call that fails is made again, as a backend would, and its answers are counted."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.failed = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        while not self.stop.is_set():
            try:
                await self.traffic.send(rows=7, outcomes=False)
            except GyrostatError:
                self.failed += 1


def _shippers(system: LocalSystem) -> list[int]:
    """Pids of the shipper processes of this system: children of inference that run `gyrostat_inference.shipper`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if b"gyrostat_inference.shipper" in command and int(parent) == system.processes["inference"].pid:
            found.append(int(entry.name))
    return found


async def _kill(system: LocalSystem, name: str) -> None:
    if name == "shipper":
        for pid in _shippers(system):
            os.kill(pid, signal.SIGKILL)
        return
    await system.kill(name)
    await system.start(name)


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_kills_lose_nothing_and_double_nothing(rounds: int) -> None:
    async with a_system(own_kafka=True) as system, client_of(system) as client:
        await a_live_model(client, "chaos")
        pushed = await client.versions.push("chaos", logistic_onnx(slope=1.9), hold=True)
        await client.rollouts.pin_shadow("chaos", pushed.version.number)
        caller = Caller(Traffic(client, "chaos", seed=random.Random(7).randrange(1000)))
        running = asyncio.create_task(caller.run())
        for name in KILLS * rounds:
            await _some(caller, 150)
            await _kill(system, name)
        await _some(caller, 150)
        caller.stop.set()
        await running
        await _invariants(system, client, caller)


async def _some(caller: Caller, rows: int) -> None:
    """Let that many more rows be answered."""
    before = len(caller.traffic.sent)

    await eventually(lambda: len(caller.traffic.sent) >= before + rows, f"{rows} more answers")


async def _invariants(system: LocalSystem, client: AsyncClient, caller: Caller) -> None:
    sent = set(caller.traffic.sent)

    def missing() -> int:
        return len(sent - {name for name, _, role in archive_rows(system, "chaos") if role == "answer"})

    await becomes(missing, 0)
    rows = archive_rows(system, "chaos")
    assert len(rows) == len(set(rows)), "an answer is in the archive twice"
    # What was answered while a kill cut the connection may be logged without a caller that saw it: never the reverse.
    extra = {name for name, _, role in rows if role == "answer"} - sent
    assert len(extra) <= 7 * caller.failed

    async def off_balance() -> list[int]:
        """By spool; none of them has told its books yet: [-1]."""
        books = [book for replica in await client.plans.replicas() for book in replica.books]
        left = [b.accepted - b.logged - b.sampled_out - b.waiting - sum(b.dropped.values()) for b in books]
        return [rows for rows in left if rows] if books else [-1]

    await becomes(off_balance, [])
