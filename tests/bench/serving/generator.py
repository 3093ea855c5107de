"""The load: our generator (load.c), whose headers vary and which looks at every reply, and h2load beside it.

h2load repeats the same headers and takes any HTTP 200 for a success; so its column is a second one, its bytes are
compared with those of replies that were looked at, and what it says is compared with our generator on equal headers.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.serving.processes import cpu_s
from support.measuring import Figure

ROOT = Path(__file__).resolve().parents[3]
SOURCE, BUILT = Path(__file__).with_name("load.c"), ROOT / "build" / "bench" / "load"
SERVICE = "/inference.GRPCInferenceService"
INFER, STREAM = f"{SERVICE}/ModelInfer", f"{SERVICE}/ModelStreamInfer"
MISSING = "is missing: install it (Debian: sudo apt-get install gcc libc6-dev libnghttp2-dev nghttp2-client)"
_H2LOAD_HEADERS = {
    "content-type": "application/grpc",
    "user-agent": "grpc-bench/1",
    "te": "trailers",
    "grpc-timeout": "19999999u",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
}


@dataclass(frozen=True)
class Target:
    """A server that answers on a port of 127.0.0.1, and the processes whose CPU is its own."""

    name: str
    port: int
    processes: Callable[[], Iterable[int]]


@dataclass(frozen=True)
class Load:
    """How it is called: `streams` on each of `connections`; headers vary, literal or same."""

    connections: int = 8
    streams: int = 8
    headers: str = "vary"
    path: str = INFER
    seconds: float = 3.0
    warm_s: float = 1.0

    @property
    def at_once(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True)
class Run:
    """What one run found. CPU is the server's, in the part that counts."""

    rate: float
    p50_us: float
    p99_us: float
    cpu_us: float
    sent: int
    answered: int
    reply_bytes: tuple[int, int]
    faults: str


@dataclass
class Measured:
    """Several runs of one load."""

    name: str
    runs: list[Run] = field(default_factory=list)

    def figure(self, of: Callable[[Run], float], name: str = "", unit: str = "") -> Figure:
        return Figure(name or self.name, unit, tuple(of(run) for run in self.runs))

    @property
    def rate(self) -> float:
        return self.median(lambda run: run.rate)

    @property
    def faults(self) -> str:
        return next((run.faults for run in self.runs if run.faults), "")

    def median(self, of: Callable[[Run], float]) -> float:
        return statistics.median(of(run) for run in self.runs)


def built() -> Path:
    """The generator, compiled if its source is newer. Exits with a sentence where a compiler or library is missing."""
    if BUILT.exists() and BUILT.stat().st_mtime > SOURCE.stat().st_mtime:
        return BUILT
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit(f"a C compiler {MISSING}")
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-o", str(BUILT), str(SOURCE), "-lnghttp2", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"libnghttp2's headers {MISSING}" if "nghttp2.h" in done.stderr else done.stderr)
    return BUILT


class Generator:
    """One run of the generator, from its start to its last line."""

    def __init__(self, target: Target, requests: Path, load: Load, records: Path | None = None) -> None:
        given = {
            "port": target.port,
            "path": load.path,
            "requests": requests,
            "connections": load.connections,
            "streams": load.streams,
            "warm": load.warm_s,
            "seconds": load.seconds,
            "headers": load.headers,
            "calls": "stream" if load.path == STREAM else "unary",
        }
        if records is not None:
            given["records"] = records
        command = [str(built()), *(text for name, value in given.items() for text in (f"--{name}", str(value)))]
        self._target, self._load = target, load
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stop(self) -> None:
        """No new calls; those in flight finish."""
        self._process.terminate()

    def wait(self) -> Run:
        """What it found."""
        assert self._process.stdout is not None
        cpu: dict[str, float] = {}
        said: dict[str, Any] = {}
        for line in self._process.stdout:
            if line.strip() in ("begin", "end"):
                cpu[line.strip()] = cpu_s(self._target.processes())
            else:
                said = json.loads(line)
        _, complaint = self._process.communicate()
        if not said:
            return Run(0, 0, 0, 0, 0, 0, (0, 0), complaint.strip() or f"ended with code {self._process.returncode}")
        counted = max(said["counted"], 1)
        return Run(
            said["counted"] / said["seconds"],
            said["p50_us"],
            said["p99_us"],
            (cpu["end"] - cpu["begin"]) / counted * 1e6,
            said["sent"],
            said["answered"],
            (said["least_bytes"], said["most_bytes"]),
            _faults(said),
        )


def _faults(said: dict[str, Any]) -> str:
    found = []
    if said["not_ok"]:
        found.append(f"{said['not_ok']} calls failed, the first with status {said['first_status']}")
    if said["wrong"]:
        found.append(f"{said['wrong']} wrong answers, the first to {said['first_wrong']}")
    if said["broken"]:
        found.append(f"{said['broken']} calls without exactly one reply")
    if said["sent"] != said["answered"]:
        found.append(f"{said['sent'] - said['answered']} calls without an answer")
    return "; ".join(found)


def measure(name: str, target: Target, requests: Path, load: Load, runs: int) -> Measured:
    """`runs` runs that count; each warms up for itself."""
    found = Measured(name)
    for _ in range(runs):
        found.runs.append(Generator(target, requests, load).wait())
    return found


def h2load(name: str, target: Target, body: bytes, load: Load, like: Measured, runs: int) -> Measured:
    """The same by h2load, repeating `body`: as many requests as take about the load's seconds. `like`: the same load
    by our generator, whose replies were looked at."""
    found = Measured(name)
    if shutil.which("h2load") is None:
        found.runs.append(Run(0, 0, 0, 0, 0, 0, (0, 0), f"h2load {MISSING}"))
        return found
    count = max(int(like.rate * load.seconds), load.at_once)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + struct.pack(">I", len(body)) + body)
        file.flush()
        command = ["h2load", "-t1", f"-n{count}", f"-c{load.connections}", f"-m{load.streams}", "-d", file.name]
        command += [text for pair in _H2LOAD_HEADERS.items() for text in ("-H", ": ".join(pair))]
        command.append(f"http://127.0.0.1:{target.port}{load.path}")
        for _ in range(runs):
            before = cpu_s(target.processes())
            done = subprocess.run(command, capture_output=True, text=True, timeout=load.seconds * 20 + 60)
            cpu = cpu_s(target.processes()) - before
            found.runs.append(replace(_h2load_said(done.stdout, count, like), cpu_us=cpu / count * 1e6))
    return found


def _h2load_said(text: str, count: int, like: Measured) -> Run:
    """Rate and faults. Its bytes must be those of as many good replies."""
    rate = re.search(r"finished in .*?, ([0-9.]+) req/s", text)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    traffic = re.search(r"\((\d+)\) data", text)
    if rate is None or done is None or traffic is None:
        return Run(0, 0, 0, 0, 0, 0, (0, 0), f"h2load said nothing of use: {text[-200:]!r}")
    least, most = like.runs[-1].reply_bytes
    received, good = int(traffic[1]), int(done[1])
    faults = f"h2load: {count - good} of {count} calls failed" if good != count else ""
    if not (least + 5) * good <= received <= (most + 5) * good:
        faults = f"h2load: {received} bytes for {good} replies of {least} to {most} bytes: some were no answers"
    return Run(float(rate[1]), 0, 0, 0, count, good, (least, most), faults)
