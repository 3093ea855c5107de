"""Worker processes under their supervisor, with a front of lines: spread, plans, deaths, hangs, sums, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gyrostat_inference.cores.crew import Crew
from gyrostat_inference.cores.handing import GRPC, Doors, bound
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.usecases.hand_down import HandDown
from support.waiting import becomes, eventually

TESTS = str(Path(__file__).parents[1])


class NoDisk:
    """A plan cache that remembers for as long as the test runs."""

    def __init__(self) -> None:
        self.kept: list[tuple[Plan, bytes]] = []

    def read(self) -> list[tuple[Plan, bytes]]:
        return self.kept

    def write(self, plan: Plan, raw: bytes) -> None:
        self.kept = [(plan, raw)]


class Silent:
    def served(self, plan: Plan, workers: int) -> None: ...
    def not_cached(self, plan: Plan, reason: str) -> None: ...


@dataclass
class Replica:
    crew: Crew
    handing: HandDown
    port: int
    cache: NoDisk

    async def plan(self, revision: int) -> None:
        await self.handing.follow(Plan("production", "lines", revision), b"%d" % revision)
        await becomes(lambda: self.handing.revisions().get("lines", 0), revision)

    async def connect(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port))


@dataclass
class Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, text: str) -> str:
        self.writer.write(f"{text}\n".encode())
        async with asyncio.timeout(30):
            reply = await self.reader.readline()
        if not reply:
            raise ConnectionResetError("closed")
        return reply.decode().strip()

    def close(self) -> None:
        self.writer.close()


async def start(number: int, channel: int, doors: int) -> asyncio.subprocess.Process:
    paths = os.pathsep.join((TESTS, os.environ.get("PYTHONPATH", "")))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.line_worker", "--number", str(number),
        "--channel", str(channel), "--doors", str(doors),
        env={**os.environ, "PYTHONPATH": paths}, pass_fds=(channel, doors),
    )  # fmt: skip


@asynccontextmanager
async def a_replica(workers: int = 2, hung_s: float = 30.0) -> AsyncIterator[Replica]:
    (listener,), cache = bound("127.0.0.1:0"), NoDisk()
    crew = Crew(start, workers, hung_s)
    handing = HandDown(crew.give, cache, Silent(), lambda: None)
    handing.awaited(range(workers))
    running = asyncio.create_task(crew.run(handing))
    doors = Doors({GRPC: [listener]}, crew.hand)
    doors.open()
    try:
        yield Replica(crew, handing, listener.getsockname()[1], cache)
    finally:
        doors.shut()
        await crew.finish(5.0)
        await running


async def all_up(replica: Replica) -> None:
    await eventually(lambda: len(replica.handing.answering()) == replica.crew.count)


async def test_sockets_are_spread_evenly_and_each_stays_where_it_is():
    async with a_replica() as replica:
        await all_up(replica)
        lines = [await replica.connect() for _ in range(16)]
        first = [await line.ask("who") for line in lines]
        assert Counter(first) == {"0": 8, "1": 8}
        assert [await line.ask("who") for line in lines] == first
        for line in (one for one, who in zip(lines, first, strict=True) if who == "0"):
            line.close()
        await eventually(lambda: [load.weight for load in replica.crew.loads().values()] == [0, 8])
        again = [await replica.connect() for _ in range(8)]
        assert Counter([await line.ask("who") for line in again]) == {"0": 8}, "the one with room gets them"


async def test_connections_before_the_first_worker_wait_for_it():
    async with a_replica() as replica:
        line = await replica.connect()
        assert await line.ask("who") in ("0", "1")


async def test_a_killed_worker_takes_its_connections_and_comes_back_with_the_plan_in_force():
    async with a_replica() as replica:
        await all_up(replica)
        await replica.plan(4)
        lines = [await replica.connect() for _ in range(6)]
        where = [await line.ask("who") for line in lines]
        before = replica.crew.pids[0]
        os.kill(before, signal.SIGKILL)
        for line, who in zip(lines, where, strict=True):
            if who == "1":
                assert await line.ask("plan") == "4", "the others' connections live"
            else:
                assert await asyncio.wait_for(line.reader.read(), 30) == b""
        assert await (await replica.connect()).ask("who") == "1", "one goes on"
        await eventually(lambda: replica.crew.pids.get(0) not in (None, before))
        await all_up(replica)
        assert replica.crew.problem is None
        fresh = [await replica.connect() for _ in range(8)]
        assert {await line.ask("plan") for line in fresh} == {"4"}
        assert {await line.ask("who") for line in fresh} == {"0", "1"}


async def test_no_connection_sees_revisions_go_backwards():
    async with a_replica() as replica:
        await all_up(replica)
        await replica.plan(1)
        lines, stop, seen = [await replica.connect() for _ in range(6)], asyncio.Event(), 0

        async def ask(line: Line) -> None:
            nonlocal seen
            last = 1
            while not stop.is_set():
                revision = int(await line.ask("plan"))
                assert revision >= last
                last, seen = revision, seen + 1

        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(ask(line))
            for revision in range(2, 30):
                await replica.plan(revision)
            stop.set()
        assert seen > 6
        assert replica.cache.kept[0][0].revision == 29


async def test_a_worker_that_hangs_is_killed_and_a_busy_one_is_not():
    async with a_replica(hung_s=2.0) as replica:
        await all_up(replica)
        lines = [await replica.connect() for _ in range(2)]
        where = {await line.ask("who"): line for line in lines}
        before = dict(replica.crew.pids)
        with suppress(ConnectionError):
            await where["0"].ask("hang")  # ends when the worker is killed
        await eventually(lambda: replica.crew.pids.get(0) not in (None, before[0]))
        assert replica.crew.pids[1] == before[1]
        assert await where["1"].ask("who") == "1"


async def test_any_worker_tells_what_all_have_counted_also_those_that_are_gone():
    async with a_replica() as replica:
        await all_up(replica)
        await replica.plan(1)
        lines = [await replica.connect() for _ in range(2)]
        where = {await line.ask("who"): line for line in lines}
        for _ in range(10):
            await where["0"].ask("who")
        assert int(await where["1"].ask("total")) == 13, "two, ten, and the one that asks"
        os.kill(replica.crew.pids[0], signal.SIGKILL)
        await eventually(lambda: 0 not in replica.crew.pids)
        assert int(await where["1"].ask("total")) == 14
        await replica.crew.ask(metrics=True)
        (family,) = replica.crew.families()
        assert family.samples == [("lines_total", {"model": "lines"}, 14.0)]


async def test_what_could_not_be_loaded_is_tried_again_by_all():
    async with a_replica(workers=3) as replica:
        await all_up(replica)
        lines = [await replica.connect() for _ in range(3)]
        await lines[1].ask("again")
        for line in lines:
            await eventually(lambda line=line: asks(line, "agains", "1"))


async def asks(line: Line, question: str, wanted: str) -> bool:
    return await line.ask(question) == wanted


async def test_at_the_end_calls_in_flight_are_answered():
    async with a_replica() as replica:
        await all_up(replica)
        line = await replica.connect()
        asked = asyncio.create_task(line.ask("wait"))
        await eventually(lambda: sum(load.streams for load in replica.crew.loads().values()) == 1)
        pids = list(replica.crew.pids.values())
    assert await asked in ("0", "1")
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)  # noqa: ASYNC240
