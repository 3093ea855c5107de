"""Throughput of the inference service as the demo uses it: requests of about ten rows, one shadow, real Kafka.

`.venv/bin/python tests/bench/bench_inference.py [--seconds 10] [--rows 10] [--rate 250] [--features 20]` starts a
broker, the service with its shipper as processes, and calls it at a fixed rate (0: as fast as it goes). Prints rows a
second, latencies, and the CPU that service, shipper and broker took, in cores. Asserts nothing about time.
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
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common.bus import topics
from support.graphs import GraphFile, a_plan
from support.inference import Place, a_request, calling
from support.kafka import Broker


def trees(features: int, categories: int) -> GraphFile:
    """Boosted trees of 100 trees over numbers, with text inputs that are one-hot encoded in the graph."""
    from support.trees import a_boosted_classifier

    return a_boosted_classifier(features, categories)


async def load(place: Place, arguments: argparse.Namespace) -> tuple[int, list[float], float]:
    """Calls for a while. (rows answered, latencies in s, seconds)."""
    rng = np.random.default_rng(7)
    latencies: list[float] = []
    inputs = {f"x{i}": rng.normal(size=(arguments.rows, 1)).astype(np.float32) for i in range(arguments.features)}
    for i in range(arguments.categories):
        inputs[f"c{i}"] = np.array([[f"k{n % 16}"] for n in range(arguments.rows)], dtype=object)
    request = a_request("bench", inputs)
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


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    broker = Broker(folder / "kafka")
    broker.start()
    place = Place(folder / "data", broker.settings)
    service = None
    try:
        await topics.apply(broker.settings)
        champion, shadow = (
            trees(arguments.features, arguments.categories),
            trees(arguments.features, arguments.categories),
        )
        await place.store(champion, shadow)
        environ = {**os.environ, **place.environ(), "GYROSTAT_LOG__LEVEL": "warning"}
        service = subprocess.Popen([sys.executable, "-m", "gyrostat_inference"], env=environ)  # noqa: ASYNC220
        shadows = [
            pb.PlannedShadow(version=shadow.planned(n + 2), purpose="candidate") for n in range(arguments.shadows)
        ]
        async with calling(place) as caller:
            await caller.stub.ServerLive(pb_live(), wait_for_ready=True, timeout=30)
            await caller.plan(a_plan("bench", 1, champion.planned(1), shadows=shadows))
            parent = psutil.Process(service.pid)
            shipper = next(p for p in parent.children() if "gyrostat_inference.shipper" in " ".join(p.cmdline()))
            kafka = psutil.Process(broker.process.pid) if broker.process else parent
            java = max([kafka, *kafka.children(recursive=True)], key=lambda p: p.memory_info().rss)
            watched = {"service": parent, "shipper": shipper, "kafka": java}
            before = {name: cpu_of(process) for name, process in watched.items()}
            rows, latencies, seconds = await load(place, arguments)
            spent = {name: cpu_of(process) - before[name] for name, process in watched.items()}
            began = time.perf_counter()
            due = rows * (1 + arguments.shadows)

            def settled(beat: pb.PlanApplied) -> bool:
                return sum(b.accepted for b in beat.books) >= due and not any(b.waiting for b in beat.books)

            beat = await caller.heartbeat(settled, 120)
            lag = time.perf_counter() - began
        cores = {name: cpu / seconds for name, cpu in spent.items()}
        p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99])
        print(f"requests {len(latencies)} of {arguments.rows} rows, {arguments.shadows} shadow(s), {seconds:.1f} s")
        print(f"answered {rows / seconds:,.0f} rows/s, scored {rows * (1 + arguments.shadows) / seconds:,.0f} rows/s")
        print(f"latency p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        print("cores " + ", ".join(f"{name} {used:.2f}" for name, used in cores.items()))
        print(
            f"CPU per request: service {spent['service'] / len(latencies) * 1e6:.0f} us, "
            f"shipper {spent['shipper'] / len(latencies) * 1e6:.0f} us"
        )
        print("memory MB " + ", ".join(f"{name} {p.memory_info().rss / 1e6:.0f}" for name, p in watched.items()))
        print(
            f"books settled {lag:.1f} s later: "
            + "; ".join(
                f"{b.spool_id.split('-')[0]} accepted {b.accepted} logged {b.logged} dropped {dict(b.dropped)}"
                for b in beat.books
            )
        )
    finally:
        if service is not None:
            service.terminate()
            service.wait(40)
        broker.kill()


def pb_live() -> object:
    from gyrostat_common import oip

    return oip.ServerLiveRequest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--rate", type=float, default=250, help="requests a second; 0: as fast as it goes")
    parser.add_argument("--features", type=int, default=14)
    parser.add_argument("--categories", type=int, default=4)
    parser.add_argument("--shadows", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=32)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-bench-"))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(arguments, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
