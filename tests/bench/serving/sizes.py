"""How fast it starts, what a loaded model takes, and what a thousand of them do."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.serving import page
from bench.serving.generator import measure
from bench.serving.ours import Ours, answers, ours, start
from bench.serving.processes import cpu_s, pss_bytes, rss_bytes
from bench.serving.throughput import MANY, Bench
from bench.serving.workloads import Workload, perceptron, shifted, w1
from gyrostat_common import oip
from support.graphs import GraphFile
from support.inference import until
from support.measuring import Figure

LOADED_S = 3600.0


async def cold_start(bench: Bench) -> None:
    """From exec to the first answer: with the plan and the artifact in the cache, as after a restart."""
    page.heading("Cold start: from exec to the first answer, one model in the cache")
    workload, seconds, cpu = w1(), [], []
    async with ours(bench.cores, bench.front) as service:
        await service.serve(workload.name, workload.graph)
        for _ in range(bench.runs + 1):
            service.process.terminate()
            await asyncio.to_thread(service.process.wait, 60)
            began = time.perf_counter()
            service.process = start(service.place.environ(), bench.cores)
            await answers(service.place.port, workload.messages(workload.name))
            seconds.append(time.perf_counter() - began)
            cpu.append(cpu_s(service.service_pids()))
            service.rows += 1
    page.head(heads=("what", "median", "least … most"))
    page.figure(Figure("to the first answer", "s", tuple(seconds[1:])))
    page.figure(Figure("CPU of the service meanwhile", "s", tuple(cpu[1:])))


async def memory(bench: Bench, count: int = 20) -> None:
    """Resident memory of the service by how many models it has, beside the size of their files."""
    page.heading(f"Memory per loaded model: {count} of each kind, {bench.runs} time(s)")
    page.head(heads=("kind", "file KiB", "memory (PSS) per model KiB", "least … most"))
    kinds = {"boosted trees, 100 trees (W1)": w1().graph, "MLP 20-512-512-2 (W3)": perceptron((20, 512, 512, 2))}
    for kind, graph in kinds.items():
        grown = []
        for _ in range(bench.runs):
            async with ours(bench.cores, bench.front) as service:
                await service.serve("m0", graph)
                await asyncio.sleep(1)
                before = pss_bytes(service.answering_pids())
                for number in range(1, count + 1):
                    await service.serve(f"m{number}", _another(graph, number))
                await asyncio.sleep(1)
                grown.append((pss_bytes(service.answering_pids()) - before) / count / 1024)
        page.cells(kind, f"{len(graph.raw) / 1024:,.0f}", page.short(sorted(grown)[len(grown) // 2]),
                   f"{page.short(min(grown))} … {page.short(max(grown))}")  # fmt: skip


def _another(graph: GraphFile, number: int) -> GraphFile:
    """The same kind, other bytes: nothing may be shared."""
    if "features" in dict((name, 0) for name, _, _ in graph.inputs) and len(graph.outputs) == 2:
        return shifted(graph, number / 100)
    return perceptron((20, 512, 512, 2), seed=number)


async def many_models(bench: Bench, count: int) -> None:
    """W1's model under many names, called in turn, beside one of them alone."""
    page.heading(f"{count:,} loaded models: W1 by 64 streams, each call to another model")
    workload = w1()
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        async with ours(bench.cores, bench.front) as service:
            one, seconds, memory_mib = await _loaded(service, workload, count)
            page.head(heads=("what", "found"))
            page.cells("time to load them, one after the other", f"{seconds:,.0f} s")
            page.cells("memory (RSS) with one, with all", f"{one:,.0f}, {memory_mib:,.0f} MiB")
            page.say()
            page.head("x one model")
            load, rate = bench.load(MANY), 0.0
            for what, names in {"one model": ["m0"], f"{count:,} models": [f"m{n}" for n in range(count)]}.items():
                requests = workload.write(Path(name) / "requests", names)
                found = measure(what, service.target, requests, replace(load), bench.runs)
                rate = rate or found.rate
                service.rows += sum(run.answered for run in found.runs)
                page.load(found, f"{found.rate / max(rate, 1):.2f}")
            page.books(f"{count:,} models", await service.books())


async def _loaded(service: Ours, workload: Workload, count: int) -> tuple[float, float, float]:
    """(MiB with one model, seconds until all are served, MiB then)."""
    await service.serve("m0", workload.graph)
    one, began = rss_bytes(service.answering_pids()) / 2**20, time.perf_counter()
    for number in range(1, count):
        await service.serve(f"m{number}", workload.graph, applied=False, store=False)

    async def served() -> bool:
        index = await service.caller.stub.RepositoryIndex(oip.RepositoryIndexRequest(ready=True), timeout=30)
        await asyncio.sleep(0.5)
        return len(index.models) >= count

    await until(served, LOADED_S)
    return one, time.perf_counter() - began, rss_bytes(service.answering_pids()) / 2**20
