"""Throughput of the inference service as the demo uses it: requests of about ten rows, one shadow, real Kafka.

`.venv/bin/python tests/bench/bench_inference.py [--runs 2] [--cpus 0,1] [--seconds 10] [--rows 10] [--rate 250]` starts
a broker, the service with its shipper as processes, and calls it at a fixed rate (0: as fast as it goes). Prints rows a
second, latencies, the CPU that service, shipper and broker took, and beside it what the bare graph takes. Asserts
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import oip
from gyrostat_common.bus import topics
from support.graphs import GraphFile, a_plan
from support.inference import Caller, Place, a_request, calling
from support.kafka import Broker
from support.measuring import arguments as measuring
from support.measuring import begin, each, repeated


def trees(features: int, categories: int) -> GraphFile:
    """Boosted trees of 100 trees over numbers, with text inputs that are one-hot encoded in the graph."""
    from support.trees import a_boosted_classifier

    return a_boosted_classifier(features, categories)


def inputs_of(arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """One request's rows, by input."""
    rng = np.random.default_rng(7)
    inputs = {f"x{i}": rng.normal(size=(arguments.rows, 1)).astype(np.float32) for i in range(arguments.features)}
    words = np.array([[f"k{n % 16}"] for n in range(arguments.rows)], dtype=object)
    return inputs | {f"c{i}": words for i in range(arguments.categories)}


async def load(place: Place, arguments: argparse.Namespace) -> tuple[int, list[float], float]:
    """Calls for a while. (rows answered, latencies in s, seconds)."""
    latencies: list[float] = []
    request = a_request("bench", inputs_of(arguments))
    done = 0

    async with calling(place) as caller:

        async def one(due: float) -> None:
            nonlocal done
            await caller.stub.ModelInfer(request, timeout=30)
            latencies.append(time.perf_counter() - due)
            done += arguments.rows

        began = time.perf_counter()
        pending: set[asyncio.Task[None]] = set()
        sent = 0
        while (now := time.perf_counter()) - began < arguments.seconds:
            due = began + sent / arguments.rate if arguments.rate else now
            if arguments.rate and due > now:
                await asyncio.sleep(due - now)
                continue
            if len(pending) >= arguments.concurrency:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                continue
            pending.add(asyncio.create_task(one(due)))
            sent += 1
            await asyncio.sleep(0)
        if pending:
            await asyncio.wait(pending)
        return done, latencies, time.perf_counter() - began


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


class Watched:
    """The service, its shipper and the broker, as processes: their CPU since the start of the load, their memory."""

    def __init__(self, service: subprocess.Popen[bytes], broker: Broker) -> None:
        parent = psutil.Process(service.pid)
        shipper = next(p for p in parent.children() if "gyrostat_inference.shipper" in " ".join(p.cmdline()))
        kafka = psutil.Process(broker.process.pid) if broker.process else parent
        java = max([kafka, *kafka.children(recursive=True)], key=lambda p: p.memory_info().rss)
        self._processes = {"service": parent, "shipper": shipper, "kafka": java}
        self._before = {name: cpu_of(process) for name, process in self._processes.items()}

    def spent_s(self) -> dict[str, float]:
        return {name: cpu_of(process) - self._before[name] for name, process in self._processes.items()}

    def megabytes(self) -> dict[str, float]:
        return {name: process.memory_info().rss / 1e6 for name, process in self._processes.items()}


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Starts everything, loads it for a while, prints the figures."""
    broker = Broker(folder / "kafka")
    broker.start()
    place = Place(folder / "data", broker.settings)
    service = None
    try:
        await topics.apply(broker.settings)
        champion, shadow = (trees(arguments.features, arguments.categories) for _ in range(2))
        await place.store(champion, shadow)
        environ = {**os.environ, **place.environ(), "GYROSTAT_LOG__LEVEL": "warning"}
        service = subprocess.Popen([sys.executable, "-m", "gyrostat_inference"], env=environ)  # noqa: ASYNC220
        shadows = [
            pb.PlannedShadow(version=shadow.planned(n + 2), purpose="candidate") for n in range(arguments.shadows)
        ]
        async with calling(place) as caller:
            await caller.stub.ServerLive(oip.ServerLiveRequest(), wait_for_ready=True, timeout=30)
            await caller.plan(a_plan("bench", 1, champion.planned(1), shadows=shadows))
            due = 0
            for run in range(arguments.runs + 1):
                watched = Watched(service, broker)
                rows, latencies, seconds = await load(place, arguments)
                due += rows * (1 + arguments.shadows)
                if run:  # the first warms up
                    report(arguments, watched, rows, latencies, seconds)
            await settle(caller, due)
    finally:
        if service is not None:
            service.terminate()
            service.wait(40)
        broker.kill()


async def settle(caller: Caller, rows: int) -> None:
    """Waits until so many rows are on the log and none is left in the spool; prints the books."""

    def settled(beat: pb.PlanApplied) -> bool:
        return sum(b.accepted for b in beat.books) >= rows and not any(b.waiting for b in beat.books)

    began = time.perf_counter()
    beat = await caller.heartbeat(settled, 120)
    books = "; ".join(
        f"{b.spool_id.split('-')[0]} accepted {b.accepted} logged {b.logged} dropped {dict(b.dropped)}"
        for b in beat.books
    )
    print(f"books settled {time.perf_counter() - began:.1f} s later: {books}")


def ceiling_us(arguments: argparse.Namespace) -> float:
    """CPU of one run of the graph over a request's rows, without a service around it: what nothing can beat."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    graph = trees(arguments.features, arguments.categories)
    session = ort.InferenceSession(graph.raw, options, providers=["CPUExecutionProvider"])
    inputs = inputs_of(arguments)
    return repeated("", "", 5, each(500, lambda: session.run(None, inputs))).median


def report(arguments: argparse.Namespace, watched: Watched, rows: int, latencies: list[float], seconds: float) -> None:
    """Prints one run."""
    spent, calls = watched.spent_s(), len(latencies)
    p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99])
    per_call, bare = spent["service"] / calls * 1e6, ceiling_us(arguments) * (1 + arguments.shadows)
    print(f"requests {calls} of {arguments.rows} rows, {arguments.shadows} shadow(s), {seconds:.1f} s")
    print(f"answered {rows / seconds:,.0f} rows/s, scored {rows * (1 + arguments.shadows) / seconds:,.0f} rows/s")
    print(f"latency p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    print("cores " + ", ".join(f"{name} {cpu / seconds:.2f}" for name, cpu in spent.items()))
    print(f"CPU per request: service {per_call:.0f} µs, {per_call / bare:.1f} x the bare graph's {bare:.0f} µs")
    print("memory MB " + ", ".join(f"{name} {used:.0f}" for name, used in watched.megabytes().items()), flush=True)


def main() -> None:
    parser = measuring(__doc__, runs=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--rate", type=float, default=250, help="requests a second; 0: as fast as it goes")
    parser.add_argument("--features", type=int, default=14)
    parser.add_argument("--categories", type=int, default=4)
    parser.add_argument("--shadows", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=32)
    arguments = parser.parse_args()
    begin("The inference service", arguments.cpus, heading=False)
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-bench-"))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(arguments, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
