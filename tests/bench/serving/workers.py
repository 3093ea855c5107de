"""From one worker to two. On a machine of two cores the load takes its share of the second one, so two ratios are
printed: of the rates, with a workload whose load costs little beside it, and of what a request costs.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.serving import page
from bench.serving.generator import Measured, measure
from bench.serving.ours import Cores, ours
from bench.serving.throughput import MANY, Bench, front_of
from bench.serving.workloads import Workload, w1, w3

HEAVY_ROWS = 64


async def workers(bench: Bench) -> None:
    """The whole part."""
    page.heading("1 → 2 workers: 64 streams on 8 connections")
    if front_of(bench) == "grpcio":
        page.say("Left out: workers take over connections that the supervisor accepted, which our own front alone can.")
        return
    page.head("rate, x 1 worker", "capacity of two cores, x 1 worker on one")
    for workload in (w1(), w3(HEAVY_ROWS)):
        one = await _measured(bench, workload, 1)
        two = await _measured(bench, workload, 2)
        cost = one.median(lambda run: run.cpu_us) / max(two.median(lambda run: run.cpu_us), 1e-9)
        page.load(one, "", "")
        page.load(two, f"{two.rate / max(one.rate, 1):.2f}", f"{2 * cost:.2f}")


async def _measured(bench: Bench, workload: Workload, count: int) -> Measured:
    everywhere = frozenset(os.sched_getaffinity(0)) | bench.cores.server | bench.cores.load
    cores = bench.cores if count == 1 else replace(bench.cores, server=everywhere)
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        async with ours(Cores(cores.server, cores.load), bench.front, {"workers": count}) as service:
            await service.serve(workload.name, workload.graph)
            requests = workload.write(Path(name) / "requests", [workload.name])
            title = f"{workload.title}, {count} worker{'s' if count > 1 else ''}"
            return measure(title, service.target, requests, bench.load(MANY), bench.runs)
