"""Starting and ending operating-system processes: one `Child` each, its output in a log file.

A tethered child ends when we end, whatever the reason; an untethered one (`make up`) lives on. Linux.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gyrostat_local import tether

STOP_LIMIT_S = 40.0


class Child:
    """A process of ours, or one that `make up` left running (then only its pid is known)."""

    def __init__(self, name: str, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self.pid = pid
        self._popen = popen

    @property
    def alive(self) -> bool:
        """Whether it runs; reaps it when it has ended."""
        if self._popen is not None:
            return self._popen.poll() is None
        return _command_line(self.pid) != ""

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal), None while it runs or when it is not our child."""
        return self._popen.poll() if self._popen is not None else None

    def signal(self, number: int) -> None:
        """Send a signal to this one process; nothing happens when it has ended."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self, limit_s: float) -> bool:
        """Wait for its end; False when it still runs after `limit_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.alive:  # noqa: ASYNC110 - the kernel sets no asyncio.Event
                    await asyncio.sleep(0.02)
        return not self.alive

    async def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """SIGTERM, time to close in order, then SIGKILL for it and whatever it left in its group."""
        self.signal(signal.SIGTERM)
        await self.ended(limit_s)
        self.sweep()
        await self.ended(10.0)

    async def kill(self) -> None:
        """End this process as a crash does. Its own children are not touched."""
        self.signal(signal.SIGKILL)
        await self.ended(10.0)

    def sweep(self) -> None:
        """SIGKILL whatever still runs in the process group that it led."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def spawn(name: str, command: str, *, environ: Mapping[str, str], log: Path, folder: Path, tethered: bool) -> Child:
    """Start a Procfile command in a session of its own, output appended to `log`, working in `folder`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["sh", "-c", f"exec {command}"]
    if tethered:
        tie = [sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), str(int(signal.SIGTERM)), "--"]
        arguments = tie + arguments
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environ, "PATH": path},
            cwd=folder,
            start_new_session=True,
        )
    return Child(name, popen.pid, popen)


def adopt(name: str, pid: int, mark: str) -> Child | None:
    """Return the process with this pid if its command line holds `mark`: a pid alone may be somebody else's by now."""
    return Child(name, pid) if mark in _command_line(pid) else None


def _command_line(pid: int) -> str:
    """The command line of a living process; empty when it has ended (a zombie has none)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
