"""W1 to W4 and streams: rate, latency and CPU of our service, beside ONNX Runtime alone and an empty echo."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from bench.serving import page
from bench.serving.generator import STREAM, Load, Measured, Target, h2load, measure
from bench.serving.ours import Balance, Cores, Ours, answers, ours
from bench.serving.processes import on
from bench.serving.workloads import Workload, alone
from gyrostat_common import oip
from support.inference import quiet_port
from support.measuring import Figure, each, repeated

TESTS = Path(__file__).resolve().parents[2]
ONE = Load(connections=1, streams=1)
MANY = Load()
EIGHT = Load(streams=1)
FLEET_RATE, FLEET_USE = 100_000, 0.6


@dataclass(frozen=True)
class Bench:
    """What was asked for."""

    cores: Cores
    front: str
    runs: int
    seconds: float
    warm_s: float

    def load(self, like: Load) -> Load:
        return replace(like, seconds=self.seconds, warm_s=self.warm_s)


def ort_alone(workload: Workload, bench: Bench) -> Figure:
    """Microseconds of a run of the graph, on the server's core."""
    times = max(int(5000 / workload.rows), 50) if workload.name != "W4" else 20
    with on(set(bench.cores.server)):
        return repeated("ONNX Runtime alone, a run", "µs", bench.runs, each(times, alone(workload)))


@asynccontextmanager
async def echo(front: str, reply: bytes, cores: Cores) -> AsyncIterator[Target]:
    """The empty echo of a front, in a process of its own."""
    port = quiet_port()
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        with on(set(cores.server)):
            command = [sys.executable, "-m", "bench.serving.echo", front, str(port), file.name]
            environ = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
            process = subprocess.Popen(command, env=environ)  # noqa: ASYNC220
        try:
            await answers(port, [b""], 30)
            yield Target("echo", port, lambda: [process.pid])
        finally:
            process.terminate()
            process.wait(10)


async def a_reply(port: int, message: bytes) -> bytes:
    """What is answered to one request, looked at by grpcio's own client."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        reply = await oip.Stub(channel).ModelInfer(oip.ModelInferRequest.FromString(message), timeout=20)
    return bytes(reply.SerializeToString())


@dataclass(frozen=True)
class Ceilings:
    """Requests a second: of ONNX Runtime alone, and of the empty echo by how many streams it had."""

    bare: float
    echo: Mapping[int, float]


class Measuring:
    """One workload on our running service: each load in turn, and rows counted for the books."""

    def __init__(self, bench: Bench, service: Ours, workload: Workload, folder: Path, ceilings: Ceilings) -> None:
        self._bench, self._service, self._workload = bench, service, workload
        self._requests = workload.write(folder / f"{workload.name}.requests", [workload.name])
        self._ceilings = ceilings
        self.many: Measured | None = None
        """64 streams with headers that vary, when that was measured."""

    def load(self, name: str, like: Load) -> Measured:
        """By our generator; prints a row."""
        found = measure(name, self._service.target, self._requests, self._bench.load(like), self._bench.runs)
        self._told(found, like)
        if like == MANY:
            self.many = found
        return found

    def h2load(self, name: str, like: Load, looked_at: Measured) -> Measured:
        """By h2load; prints a row."""
        body = self._workload.messages(self._workload.name)[0]
        load = self._bench.load(like)
        found = h2load(name, self._service.target, body, load, looked_at, self._bench.runs)
        self._told(found, like)
        return found

    def _told(self, found: Measured, load: Load) -> None:
        self._service.spread()
        self._service.rows += sum(run.answered for run in found.runs) * self._workload.rows
        echoed = self._ceilings.echo.get(load.at_once, 0.0)
        page.load(found, f"{found.rate / self._ceilings.bare:.2f}", f"{found.rate / echoed:.2f}" if echoed else "")


def capacity(request_us: float, balance: Balance) -> str:
    """The fleet for FLEET_RATE one-row requests a second, from what one of them costs here."""
    answering, shipping = (FLEET_RATE * cost / 1e6 / FLEET_USE for cost in (request_us, balance.shipper_us))
    return (
        f"{FLEET_RATE:,} such requests a second at {FLEET_USE:.0%} use take {answering:.1f} cores to answer them, "
        f"{shipping:.1f} for the shippers, and {FLEET_RATE * balance.row_bytes / 1e6:,.0f} MB/s into Kafka before "
        "compression and replication"
    )


def front_of(bench: Bench) -> str:
    """The front that is measured: the one asked for, else the service's default."""
    from gyrostat_inference.settings import Settings

    return bench.front or str(getattr(Settings.load({}), "front", "grpcio"))


@asynccontextmanager
async def measuring(bench: Bench, workload: Workload, loads: Sequence[tuple[str, Load]]) -> AsyncIterator[Measuring]:
    """Our service with the workload's model, and the ceilings of the same run printed; at the end the books."""
    page.heading(f"{workload.name}: {workload.title}; front {front_of(bench)}")
    bare = ort_alone(workload, bench)
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        folder = Path(name)
        async with ours(bench.cores, bench.front) as service:
            await service.serve(workload.name, workload.graph)
            reply = await a_reply(service.place.port, workload.messages(workload.name)[0])
            service.rows += workload.rows
            page.head("x ORT alone", "x echo")
            each_us = page.short(bare.median)
            page.cells("ONNX Runtime alone", page.short(1e6 / bare.median), "", each_us, "", each_us, "1", "")
            echoed = await _echoed(bench, workload, folder, reply, loads)
            measured = Measuring(bench, service, workload, folder, Ceilings(1e6 / bare.median, echoed))
            yield measured
            balance = await service.books()
            page.books(workload.name, balance)
            if workload.rows == 1 and measured.many is not None:
                page.say(f"\n{capacity(measured.many.median(lambda run: run.cpu_us), balance)}")


async def _echoed(
    bench: Bench, workload: Workload, folder: Path, reply: bytes, loads: Sequence[tuple[str, Load]]
) -> dict[int, float]:
    """The echo's rows; its rate by the number of streams."""
    requests = workload.write(folder / "echo.requests", [workload.name], compare=False)
    rates = {}
    async with echo(front_of(bench), reply, bench.cores) as target:
        for name, load in loads:
            found = measure(f"empty echo, {name}", target, requests, bench.load(load), bench.runs)
            page.load(found, "", "1")
            rates[load.at_once] = found.rate
    return rates


async def small(bench: Bench, workload: Workload) -> None:
    """W1 and its like: one stream, 64 streams, each kind of headers, and h2load."""
    loads = [("1 stream", ONE), ("64 streams", MANY)]
    async with measuring(bench, workload, loads) as measured:
        measured.load("1 stream", ONE)
        measured.load("64 streams, headers vary", MANY)
        measured.load("64 streams, headers vary, never indexed", replace(MANY, headers="literal"))
        same = measured.load("64 streams, headers repeat", replace(MANY, headers="same"))
        measured.h2load("64 streams, headers repeat, h2load", MANY, same)


async def large(bench: Bench, workload: Workload) -> None:
    """W2 and W4: one stream, eight streams."""
    async with measuring(bench, workload, [("1 stream", ONE), ("8 streams", EIGHT)]) as measured:
        measured.load("1 stream", ONE)
        measured.load("8 streams", EIGHT)


async def streaming(bench: Bench, workload: Workload) -> None:
    """ModelStreamInfer: each stream sends its next request when its reply has come."""
    async with measuring(bench, workload, [("64 streams", MANY)]) as measured:
        measured.load("1 stream of ModelStreamInfer", replace(ONE, path=STREAM))
        measured.load("64 streams of ModelStreamInfer", replace(MANY, path=STREAM))
