"""What a trial of a graph said, shared by the workers of one replica: a version is tried once, not once for each.

A file per graph and way to open it, beside a lock that whoever tries holds; the folder lives as long as the replica.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from gyrostat_inference.domain.batching import Trial
from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.domain.live import Scorer

LOOK_S, REFUSAL_HOLDS_S = 0.05, 3.0
_TRIAL = TypeAdapter(Trial)


class Engine(Protocol):
    """Tries graphs out, and opens them."""

    async def try_out(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial: ...
    async def open(self, name: str, path: Path, opening: Opening, warm_up: WarmUp) -> Scorer: ...


class SharedTrials:
    """An engine whose trials are shared by all who use the folder. A refusal holds for a moment: it is tried again
    when the plan is, and one worker's bad luck is not everybody's for good.
    """

    def __init__(self, engine: Engine, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._engine, self._folder, self._now = engine, folder, now

    async def open(self, name: str, path: Path, opening: Opening, warm_up: WarmUp) -> Scorer:
        return await self._engine.open(name, path, opening, warm_up)

    async def try_out(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial:
        """As the engine would, or as it did for another worker. Raises ModelRefused, OSError."""
        how = json.dumps([path.name, asdict(opening), asdict(warm_up)], sort_keys=True)
        key = hashlib.sha256(how.encode()).hexdigest()[:32]
        self._folder.mkdir(parents=True, exist_ok=True)
        async with _held(self._folder / f"{key}.lock"):
            said = self._read(self._folder / f"{key}.json")
            if said is None:
                said = await self._said(path, opening, warm_up)
                _write(self._folder / f"{key}.json", said)
        if isinstance(said, str):
            raise ModelRefused(said)
        return said

    async def _said(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial | str:
        try:
            return await self._engine.try_out(path, opening, warm_up)
        except ModelRefused as error:
            return str(error)

    def _read(self, file: Path) -> Trial | str | None:
        """What was said, or why the graph was refused; None: nothing that still holds."""
        try:
            content = file.read_bytes()
            if content.startswith(b'"'):
                return str(json.loads(content)) if self._now() - file.stat().st_mtime < REFUSAL_HOLDS_S else None
            return _TRIAL.validate_json(content)
        except (OSError, ValueError, ValidationError):
            return None


def clear_trials(folder: Path) -> None:
    """A replica begins without those of the last one."""
    shutil.rmtree(folder, ignore_errors=True)


def _write(file: Path, said: Trial | str) -> None:
    fresh = file.with_suffix(".new")
    with suppress(OSError):  # a full disk costs another trial
        fresh.write_bytes(json.dumps(said).encode() if isinstance(said, str) else _TRIAL.dump_json(said))
        os.replace(fresh, file)


@asynccontextmanager
async def _held(lock: Path) -> AsyncIterator[None]:
    """The lock, waited for without a thread; the kernel lets go of it when its holder dies."""
    file = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOOK_S)
        yield
    finally:
        os.close(file)
