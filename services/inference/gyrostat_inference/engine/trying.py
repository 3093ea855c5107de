"""Asks the trial process (`engine.trial`): started when the first graph comes, kept warm for those that follow."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.engine.trial import IDLE

# Where several versions come one after the other, only the first pays for an interpreter and the library.
KEEP_S = 60.0
# Of the processor, for one trial; and by the clock, where others leave it little of the processor.
CPU_S, WALL_S = 90, 900.0
START_S = 120.0
# So long a trial works only while nobody else wants the processor; then it begins again, and gets its tenth.
PATIENCE_S = 5.0
# One that has its share goes soon: the next trial is to give way again.
KEEP_HURRIED_S = 1.0
MOST_ANSWER_BYTES = 64 * 1024**2
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "LANG")
# A fork takes only the thread that forks along: there should be no other (ADR 187 for the last).
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


class TrialProcess:
    """One trial at a time. While entered; what runs at its end is killed."""

    def __init__(
        self, keep_s: float = KEEP_S, cpu_s: int = CPU_S, wall_s: float = WALL_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._keep_s, self._patience_s, self._longest_s = keep_s, patience_s, START_S + wall_s
        self._limits = {"cpu_s": cpu_s, "wall_s": wall_s}
        self._one = asyncio.Lock()
        self._first = self._hurried = True
        self._process: asyncio.subprocess.Process | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "TrialProcess":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stay()
        await self._end()

    @property
    def pid(self) -> int | None:
        """Of the process that is kept warm; None while there is none."""
        return self._process.pid if self._process is not None else None

    async def said(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What it answers. Raises ModelRefused when it ended instead, twice, OSError when it cannot be started."""
        line = json.dumps(asked | self._limits).encode() + b"\n"
        self._stay()
        async with self._one:
            try:
                answer = await self._patient_answer(line) or await self._answer(line, self._longest_s)
            except TimeoutError:
                raise ModelRefused(f"its trial process says nothing for {self._longest_s:g} s") from None
            finally:
                self._stay()
                self._leaving = asyncio.create_task(self._leave(), name="let the trial process go")
        if not answer:
            raise ModelRefused("its trial process ended without a word")
        said: dict[str, Any] = json.loads(answer)
        return said

    async def _patient_answer(self, line: bytes) -> bytes:
        if self._first:  # there is nobody yet to give way to
            self._first = False
            return b""
        with suppress(TimeoutError):
            return await self._answer(line, self._patience_s, IDLE)
        return b""

    async def _answer(self, line: bytes, within_s: float, *how: str) -> bytes:
        """One line; empty when the process has ended. Raises TimeoutError, and then it has, too."""
        if self._process is None or self._process.returncode is not None:
            self._process, self._hurried = await _started(*how), IDLE not in how
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = b""
        try:
            async with asyncio.timeout(within_s):
                with suppress(ConnectionError, RuntimeError):  # uvloop's word for a pipe whose reader has gone
                    stdin.write(line)
                    await stdin.drain()
                    answer = await stdout.readline()
        finally:
            if not answer.endswith(b"\n"):
                await self._end()
        return answer if answer.endswith(b"\n") else b""

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    async def _leave(self) -> None:
        await asyncio.sleep(min(self._keep_s, KEEP_HURRIED_S) if self._hurried else self._keep_s)
        async with self._one:
            await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _started(*how: str) -> asyncio.subprocess.Process:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gyrostat_inference.engine.trial", *how,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd="/", env=environment | _ONE_THREAD, limit=MOST_ANSWER_BYTES,
    )  # fmt: skip
