"""Our service as a bench runs it: everything on. A real Kafka, the shipper, telemetry to a receiver of OTLP, sampled
traces; the service on cores of its own, everything else on the others.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.serving.generator import Target
from bench.serving.processes import cpu_s, family, on, pin
from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import oip
from gyrostat_common.bus import contract, topics
from gyrostat_common.settings import KafkaSettings
from support.graphs import GraphFile, a_plan
from support.inference import Caller, Place, calling
from support.kafka import Broker
from support.otlp import receiving

SETTLE_S, START_S = 180.0, 60.0
SHIPPER, TRIAL = "gyrostat_inference.shipper", "gyrostat_inference.engine.trial"


@dataclass(frozen=True)
class Cores:
    """Where the server runs, and where everything else does."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Cores:
        """`0,1`: the server's, then the load's; on a machine with one core both are it."""
        there = os.sched_getaffinity(0)
        server, load = (int(part) for part in text.split(","))
        return cls(frozenset({server} & there or there), frozenset({load} & there or there))


@dataclass(frozen=True)
class Balance:
    """The books at the end of a bench, in rows, and what a row cost after its answer."""

    answered: int
    accepted: int
    logged: int
    left_out: int
    on_topic: int
    settled_s: float
    shipper_us: float
    row_bytes: float

    @property
    def even(self) -> bool:
        return self.answered == self.accepted == self.logged + self.left_out == self.on_topic + self.left_out

    def __str__(self) -> str:
        return (
            f"books {'balanced' if self.even else '**NOT BALANCED**'}: answered {self.answered:,}, accepted "
            f"{self.accepted:,}, logged {self.logged:,}, sampled out or dropped {self.left_out:,}, rows on the topic "
            f"{self.on_topic:,}; settled in {self.settled_s:.1f} s; shipper {self.shipper_us:.2f} µs CPU a row, "
            f"{self.row_bytes:.0f} bytes a row on the log before compression"
        )


@dataclass
class Ours:
    """The running service."""

    place: Place
    caller: Caller
    process: subprocess.Popen[bytes]
    cores: Cores
    rows: int = 0
    """Rows that it must have answered and logged so far."""
    revisions: dict[str, int] = field(default_factory=dict)
    shipper_began_s: float | None = None
    """CPU that the shipper had spent before the first row."""

    @property
    def target(self) -> Target:
        return Target("ours", self.place.port, self.service_pids)

    def service_pids(self) -> list[int]:
        """The service with its workers, without its shipper."""
        return [p.pid for p in family(self.process.pid) if SHIPPER not in _command(p)]

    def answering_pids(self) -> list[int]:
        """Without the trial process, too: it comes and goes, and its memory with it."""
        gone = {*self.shipper_pids(), *self.trial_pids()}
        return [p.pid for p in family(self.process.pid) if p.pid not in gone]

    def trial_pids(self) -> list[int]:
        return [p.pid for p in family(self.process.pid) if TRIAL in _command(p)]

    def shipper_pids(self) -> list[int]:
        return [p.pid for p in family(self.process.pid) if SHIPPER in _command(p)]

    def end_trials(self) -> None:
        """The next version finds no warm trial process."""
        for pid in self.trial_pids():
            os.kill(pid, signal.SIGKILL)

    def spread(self) -> None:
        """The shipper works beside the load, not on the service's core: its CPU is counted on its own."""
        for pid in self.shipper_pids():
            pin(pid, set(self.cores.load))

    async def started(self) -> None:
        """Returns when it answers and its shipper runs. Raises RuntimeError when it ended instead, or TimeoutError."""
        async with asyncio.timeout(START_S):
            while not self.shipper_pids() or not await self._lives():
                if self.process.poll() is not None:
                    raise RuntimeError(f"the service ended with code {self.process.returncode}; see what it said above")
                await asyncio.sleep(0.05)

    async def _lives(self) -> bool:
        try:
            await self.caller.stub.ServerLive(oip.ServerLiveRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def serve(self, model: str, graph: GraphFile, applied: bool = True, store: bool = True) -> float:
        """Makes the graph the model's champion, as its next version. Seconds until it was in force."""
        if store:
            await self.place.store(graph)
        revision = self.revisions[model] = self.revisions.get(model, 0) + 1
        began = time.perf_counter()
        await self.caller.plan(a_plan(model, revision, graph.planned(revision)), applied)
        while applied and not await self._all_have(model, revision):  # noqa: ASYNC110 - asked, it does not call
            await asyncio.sleep(0.01)
        if self.shipper_began_s is None:
            self.shipper_began_s = cpu_s(self.shipper_pids())
        return time.perf_counter() - began

    async def _all_have(self, model: str, version: int) -> bool:
        """Whether every worker has loaded it: metadata come from the one that is behind the connection."""
        index = await self.caller.stub.RepositoryIndex(oip.RepositoryIndexRequest(ready=True), timeout=10)
        return any(one.name == model and one.version == str(version) for one in index.models)

    async def books(self) -> Balance:
        """Waits until every answered row is on the log, and counts the rows there."""
        beat, began = None, time.perf_counter()

        def settled(one: pb.PlanApplied) -> bool:
            nonlocal beat
            beat = one
            return sum(b.accepted for b in one.books) >= self.rows and not any(b.waiting for b in one.books)

        with suppress(TimeoutError):
            await self.caller.heartbeat(settled, SETTLE_S)
        settled_s = time.perf_counter() - began
        found = beat.books if beat is not None else []
        accepted, logged = sum(b.accepted for b in found), sum(b.logged for b in found)
        left = sum(sum(b.dropped.values()) + b.sampled_out for b in found)
        there, size = await rows_on_log(self.place.kafka)
        shipper_s = cpu_s(self.shipper_pids()) - (self.shipper_began_s or 0.0)
        return Balance(
            self.rows, accepted, logged, left, there, settled_s, shipper_s / max(logged, 1) * 1e6, size / max(there, 1)
        )


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def rows_on_log(kafka: KafkaSettings) -> tuple[int, int]:
    """The rows and bytes of all frames of prediction.logged, as any consumer would count them. Raises TimeoutError."""
    topic, rows, size = f"{kafka.topic_prefix}prediction.logged", 0, 0
    places = [TopicPartition(topic, n) for n in range(contract.of_message(pb.PredictionLogged).partitions)]
    options = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 8 << 20}
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, **options) as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        left = {place for place in places if ends[place] > 0}
        async with asyncio.timeout(SETTLE_S):
            while left:
                for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                    rows += sum(pb.PredictionLogged.FromString(record.value).rows for record in records)
                    size += sum(len(record.value) for record in records)
                    if records and records[-1].offset + 1 >= ends[place]:
                        left.discard(place)
    return rows, size


@asynccontextmanager
async def ours(cores: Cores, front: str = "", options: Mapping[str, object] | None = None) -> AsyncIterator[Ours]:
    """The service on a broker and folders of its own, ready for its first plan; `front` "": what it defaults to."""
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-bench-"))
    broker = Broker(folder / "kafka")
    running: Ours | None = None
    given = {"heartbeat_s": 2, **(options or {}), **({"front": front} if front else {})}
    try:
        with receiving() as otlp:
            broker.start()
            await topics.apply(broker.settings)
            place = Place(folder / "data", broker.settings, options=given)
            environ = place.environ() | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint}
            process = start(environ, cores)
            async with calling(place) as caller:
                running = Ours(place, caller, process, cores)
                await running.started()
                running.spread()
                yield running
    finally:
        if running is not None:
            running.process.terminate()
            running.process.wait(60)
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


def start(environ: Mapping[str, str], cores: Cores) -> subprocess.Popen[bytes]:
    """The service, on its cores from its first instruction."""
    with on(set(cores.server)):
        command = [sys.executable, "-m", "gyrostat_inference"]
        return subprocess.Popen(command, env={**os.environ, **environ, "GYROSTAT_LOG__LEVEL": "error"})


async def answers(port: int, requests: Iterable[bytes], limit_s: float = 120.0) -> float:
    """Asks until one is answered; seconds that took. Raises TimeoutError."""
    began = time.perf_counter()
    request = oip.ModelInferRequest.FromString(next(iter(requests)))
    async with asyncio.timeout(limit_s), grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_EAGER) as channel:
        while True:
            try:
                await oip.Stub(channel).ModelInfer(request, timeout=5)
                return time.perf_counter() - began
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)


_EAGER = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
