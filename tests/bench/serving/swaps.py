"""Hot swaps under full load: failed calls, answers from outside the plan, latency meanwhile, memory after.

Version n of the model is the trees with every margin moved by n hundredths, so an answer's numbers tell which version
gave them. A version may answer from the moment its plan is sent, and no call that begins after the service said
that it serves the version may get an older one.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.serving import page
from bench.serving.generator import Generator
from bench.serving.ours import Ours, ours
from bench.serving.processes import rss_bytes
from bench.serving.throughput import MANY, Bench
from bench.serving.workloads import Workload, shifted, w1

RECORD = np.dtype(
    [("began", "<u8"), ("ended", "<u8"), ("status", "<i4"), ("version", "<i4"), ("index", "<u4"), ("first", "<f4")]
)
STEADY_S, BETWEEN_S = 5.0, 0.5
# Each so many-th swap finds no warm trial process, as one that comes alone.
COLD_EVERY = 10
BY = 0.01


@dataclass(frozen=True)
class Swap:
    """When version `number` was sent and when the service said that it serves it, ns of the monotonic clock."""

    number: int
    sent: int
    in_force: int
    cold: bool = False


async def swaps(bench: Bench, count: int) -> None:
    """The whole part."""
    page.heading(f"Swap under load: {count} hot swaps of W1's model, 64 streams")
    workload = w1()
    versions = [workload.graph, *(shifted(workload.graph, BY * n) for n in range(1, count + 1))]
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        folder = Path(name)
        requests = workload.write(folder / "requests", [workload.name], compare=False)
        async with ours(bench.cores, bench.front) as service:
            await service.place.store(*versions)
            await service.serve(workload.name, versions[0], store=False)
            load = replace(MANY, seconds=24 * 3600.0, warm_s=STEADY_S)
            generator = Generator(service.target, requests, load, folder / "records")
            run = asyncio.create_task(asyncio.to_thread(generator.wait))
            await asyncio.sleep(STEADY_S)
            before = rss_bytes(service.answering_pids())
            made = [Swap(1, 0, time.monotonic_ns())]
            for graph in versions[1:]:
                made.append(await _swap(service, workload, graph, len(made) + 1))
                await asyncio.sleep(BETWEEN_S)
            after = rss_bytes(service.answering_pids())
            generator.stop()
            found = await run
            service.rows += found.answered
            _report(np.fromfile(folder / "records", RECORD), made, expected(workload, count), found.faults)
            page.cells("memory (RSS)", f"{before / 2**20:.0f} → {after / 2**20:.0f} MiB", f"{after / before - 1:+.1%}")
            beside = rss_bytes(service.trial_pids()) / 2**20
            page.cells("memory of the trial process beside", f"{beside:.0f} MiB", "gone a minute after the last trial")
            page.books("swaps", await service.books())


async def _swap(service: Ours, workload: Workload, graph: object, number: int) -> Swap:
    cold = number % COLD_EVERY == 0
    if cold:
        service.end_trials()
    sent = time.monotonic_ns()
    await service.serve(workload.name, graph, store=False)  # type: ignore[arg-type]
    service.spread()
    return Swap(number, sent, time.monotonic_ns(), cold)


def expected(workload: Workload, count: int) -> np.ndarray:
    """[version - 1, request] → probability of class 1: the margin moved."""
    positive = np.array([values[0, 1] for values in workload.expected()], np.float64)
    margin = np.log(positive / (1 - positive))
    return 1 / (1 + np.exp(-(margin[None, :] + BY * np.arange(count + 1)[:, None])))


def _meanwhile(calls: np.ndarray, made: list[Swap]) -> np.ndarray:
    """Which calls were under way while one of these was made."""
    during = np.zeros(len(calls), bool)
    for swap in made:
        during |= (calls["ended"] >= swap.sent) & (calls["began"] <= swap.in_force)
    return during


def _report(calls: np.ndarray, made: list[Swap], wanted: np.ndarray, faults: str) -> None:
    """Prints the table; each promise that is not kept is a fault of the page."""
    failed = int((calls["status"] != 0).sum())
    good = calls[calls["status"] == 0]
    version = np.abs(good["version"])
    in_force = np.array([swap.in_force for swap in made])
    sent = np.array([swap.sent for swap in made])
    oldest = np.maximum(np.searchsorted(in_force, good["began"], side="right"), 1)
    newest = np.maximum(np.searchsorted(sent, good["ended"], side="right"), 1)
    outside = int(((version < oldest) | (version > newest)).sum())
    known = np.clip(version, 1, len(made))
    wrong = int((np.abs(wanted[known - 1, good["index"]] - good["first"]) > 2e-4).sum())
    during, during_cold = _meanwhile(good, made[1:]), _meanwhile(good, [swap for swap in made if swap.cold])
    took = (good["ended"] - good["began"]) / 1000
    steady = np.percentile(took[~during], [50, 99])
    seconds = [(swap.in_force - swap.sent) / 1e9 for swap in made[1:]]
    page.head(heads=("what", "found", ""))
    page.cells("swaps", str(len(made) - 1), f"{np.median(seconds):.2f} s each, at most {max(seconds):.2f}")
    page.cells("calls", f"{len(calls):,}", f"{during.mean():.0%} of them while a version was being loaded")
    page.cells("failed calls", str(failed), "")
    page.cells("answers from outside the plan", str(outside), f"{len(np.unique(version))} versions answered")
    page.cells("answers with another version's numbers", str(wrong), "")
    page.cells("p50, p99 steady", f"{steady[0]:,.0f}, {steady[1]:,.0f} µs", "")
    for what, calls_then in (("during", during), ("during those without a warm trial process", during_cold)):
        p50, p99 = np.percentile(took[calls_then], [50, 99]) if calls_then.any() else (np.nan, np.nan)
        page.cells(f"p50, p99 {what}", f"{p50:,.0f}, {p99:,.0f} µs", f"p99 {p99 / steady[1]:.2f} x steady")
    page.cells("the longest call", f"{took.max() / 1000:,.1f} ms", "")
    for count, what in ((failed, "failed calls"), (outside, "answers from outside the plan"), (wrong, "wrong numbers")):
        if count:
            page.fault(f"swaps: {count} {what}")
    if faults:
        page.fault(f"swaps: {faults}")
