"""A training job: a command in a child process of its own process group, watched, measured and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gyrostat_trainer.domain.errors import JobFailed, RunCancelled
from gyrostat_trainer.domain.runs import Progress

Ending = asyncio.Future[tuple[int, int, resource.struct_rusage]]
POLL_S = 0.1
TERM_GRACE_S = 3.0
LOG_TAIL_BYTES = 2_000
# A job sees these variables of ours and no others: no password of the service reaches somebody's training code.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Cost:
    """What a job used, its own children included."""

    wall_s: float
    cpu_s: float
    peak_bytes: float


@dataclass(frozen=True)
class Job:
    """A command, where it runs, what it is told, where its output goes."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    timeout_s: float
    progress: Path | None = None


async def run(job: Job, stop: asyncio.Event, tell: Callable[[Progress], None]) -> Cost:
    """Runs it to its end. JobFailed on a non-zero exit or the timeout, RunCancelled when `stop` is set meanwhile.

    However this coroutine ends, no process of the job's group is alive afterwards.
    """
    started = time.monotonic()
    child = await asyncio.to_thread(_started, job)
    _remember(job, child.pid)
    end = asyncio.ensure_future(asyncio.to_thread(os.wait4, child.pid, 0))
    peak = _Peak(child.pid)
    try:
        outcome = await _watch(job, end, stop, tell, peak)
    finally:
        await asyncio.shield(_end_group(child.pid, end))
        _, status, used = end.result()
        child.returncode = os.waitstatus_to_exitcode(status)
        _forget(job)
    wall_s, cpu_s = time.monotonic() - started, used.ru_utime + used.ru_stime
    cost = Cost(round(wall_s, 3), round(cpu_s, 3), peak.bytes or used.ru_maxrss * 1024.0)
    if outcome == "stopped":
        raise RunCancelled("the run was cancelled")
    if outcome == "timeout":
        raise JobFailed(f"the job was stopped after {job.timeout_s:.0f} s")
    if child.returncode != 0:
        raise JobFailed(f"the job ended with exit code {child.returncode}: {tail(job.log)}")
    return cost


def _started(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment = {**kept, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **job.environment}
    try:
        with job.log.open("ab") as log:
            return subprocess.Popen(
                list(job.command),
                cwd=job.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as exc:
        raise JobFailed(f"{job.command[0]} cannot be started: {exc}") from exc


class _Peak:
    """High-water mark of a job's own memory. The kernel's sum at the end would count ours: a child begins as a copy."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.bytes = 0.0

    def look(self) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in self._status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.bytes = max(self.bytes, float(line.split()[1]) * 1024.0)


async def _watch(
    job: Job,
    end: Ending,
    stop: asyncio.Event,
    tell: Callable[[Progress], None],
    peak: _Peak,
) -> str:
    offset, started = 0, time.monotonic()
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while True:
            both: set[asyncio.Future[Any]] = {end, stopping}
            done, _ = await asyncio.wait(both, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
            offset = _read_progress(job.progress, offset, tell)
            peak.look()
            if end in done:
                return "ended"
            if stopping in done:
                return "stopped"
            if time.monotonic() - started > job.timeout_s:
                return "timeout"
    finally:
        stopping.cancel()


def _read_progress(path: Path | None, offset: int, tell: Callable[[Progress], None]) -> int:
    """Tells the last complete line after `offset`; lines that are not progress are passed over."""
    if path is None or not path.exists():
        return offset
    with path.open("rb") as stream:
        stream.seek(offset)
        fresh = stream.read(1 << 20)
    complete = fresh[: fresh.rfind(b"\n") + 1]
    for line in reversed(complete.splitlines()):
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            said = json.loads(line)
            fraction, eta_s = float(said["fraction"]), float(said.get("eta_s", 0.0))
            tell(Progress(min(max(fraction, 0.0), 1.0), "fit", eta_s, str(said.get("text", ""))[:200]))
            break
    return offset + len(complete)


async def _end_group(group: int, end: Ending) -> None:
    if not end.done():
        _signal(group, signal.SIGTERM)
        await asyncio.wait({end}, timeout=TERM_GRACE_S)
    # Also after a normal end: a job may have left children of its own.
    _signal(group, signal.SIGKILL)
    await asyncio.wait({end})


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _pid_file(job: Job) -> Path:
    return job.log.with_suffix(".pid")


def _remember(job: Job, pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        _pid_file(job).write_text(json.dumps({"pid": pid, "created": psutil.Process(pid).create_time()}))


def _forget(job: Job) -> None:
    _pid_file(job).unlink(missing_ok=True)


def end_left_over(folder: Path) -> int:
    """Kills the groups of jobs that a killed trainer left behind in a run's folder; returns how many there were."""
    ended = 0
    for path in folder.rglob("*.pid"):
        with contextlib.suppress(psutil.NoSuchProcess, ValueError, KeyError, OSError):
            left = json.loads(path.read_text())
            if psutil.Process(int(left["pid"])).create_time() == left["created"]:
                _signal(int(left["pid"]), signal.SIGKILL)
                ended += 1
        path.unlink(missing_ok=True)
    return ended


def tail(log: Path) -> str:
    """The last line that says something."""
    if not log.exists():
        return "no output"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][-500:] if lines else "no output"
