"""Where the service's time goes under W1 and W2: by py-spy, from outside, beside what the kernel took."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench.serving import page
from bench.serving.fetched import profiler
from bench.serving.generator import Generator, Load
from bench.serving.ours import ours
from bench.serving.processes import TICKS_PER_S
from bench.serving.throughput import EIGHT, MANY, Bench, front_of
from bench.serving.workloads import Workload, w1, w2

SAMPLES_PER_S, MOST = 200, 25
LIBRARIES = {
    "onnxruntime": "onnxruntime",
    "grpc": "grpc",
    "uvloop": "uvloop",
    "google": "protobuf",
    "prometheus": "prometheus",
    "opentelemetry": "opentelemetry",
}
# A thread that waits, for the network or for another thread; py-spy takes some of them for busy.
_WAITING = re.compile(r"^(epoll_p?wait|poll|ppoll|select|pthread_cond_\w+|0x[0-9a-f]+) \(libc")
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^:()]*)(:\d+)?\)$")


async def profile(bench: Bench) -> None:
    """Shares of the time in which the service ran, by area and by function; samples name the innermost function."""
    program = profiler()
    for workload, load in ((w1(), MANY), (w2(), EIGHT)):
        page.heading(f"Profile: {workload.name} by {load.at_once} streams, headers vary; front {front_of(bench)}")
        if isinstance(program, str):
            page.say(program)
            return
        await _profiled(bench, program, workload, load)


async def _profiled(bench: Bench, program: Path, workload: Workload, load: Load) -> None:
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        folder = Path(name)
        async with ours(bench.cores, bench.front) as service:
            await service.serve(workload.name, workload.graph)
            requests = workload.write(folder / "requests", [workload.name])
            seconds = max(int(bench.seconds * bench.runs), 5)
            load = replace(load, seconds=seconds + 4, warm_s=1)
            run = asyncio.create_task(asyncio.to_thread(Generator(service.target, requests, load).wait))
            await asyncio.sleep(2)
            raw, kernel = await asyncio.to_thread(_sampled, program, service.process.pid, seconds, folder / "raw")
            found = await run
            cost = f"{found.rate:,.0f} requests/s, {found.cpu_us:.1f} µs CPU a request while sampled"
            page.say(f"{cost}: {kernel:.0%} of it in the kernel\n")
            _tables(raw)


def _sampled(program: Path, pid: int, seconds: int, into: Path) -> tuple[str, float]:
    """py-spy's stacks, and the kernel's share of the process's time meanwhile."""
    before = _times(pid)
    command = [str(program), "record", "--native", "--format", "raw", "--rate", str(SAMPLES_PER_S)]
    command += ["--duration", str(seconds), "--output", str(into), "--pid", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        page.say(f"py-spy says: {done.stderr.strip()[-300:]}")
        return "", 0.0
    user, system = (now - then for then, now in zip(before, _times(pid), strict=True))
    return into.read_text(), system / ((user + system) or 1.0)


def _times(pid: int) -> tuple[float, float]:
    """User and system seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


def _tables(raw: str) -> None:
    """Each line of `raw` is a stack, outermost first, and how often it was seen."""
    functions: Counter[str] = Counter()
    areas: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, seen = line.rpartition(" ")
        frames = stack.split(";")
        if _WAITING.match(frames[-1]):
            continue
        functions[_short(frames[-1])] += int(seen)
        areas[next((area for frame in reversed(frames) if (area := _area(frame))), "other")] += int(seen)
    total = sum(functions.values()) or 1
    for heads, counted in (
        (("area, of ours or of a library that we call", "share"), areas),
        (("function", "share"), functions),
    ):
        page.head(heads=heads)
        for name, seen in counted.most_common(MOST):
            page.cells(name, f"{seen / total:.1%}")
        page.say()


def _area(frame: str) -> str:
    """The package that a frame belongs to, where it is one that says something."""
    for word, area in LIBRARIES.items():
        if word in frame:
            return area
    found = re.search(r"gyrostat_(\w+)/([\w/]+)\.py", frame)
    return f"gyrostat_{found[1]}/{found[2]}" if found else ""


def _short(frame: str) -> str:
    """A frame without the folders in which its file lies."""
    found = _FRAME.match(frame)
    return f"{found['function']} ({'/'.join(found['file'].split('/')[-2:])})" if found else frame
