"""Calls that wait until the spool has room again, where the setting says so: not many, of bounded size, and each no
longer than somebody waits for its answer. Used by `predict`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gyrostat_inference.domain.errors import SpoolFull

MOST_CALLS, MOST_BYTES = 1024, 128 * 1024**2
# How often those are looked for who have gone.
LOOK_S = 0.1


class Spool(Protocol):
    """As those see it who wait for room in it."""

    async def until_room(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Held:
    """A call that waits: `go` lets it through, `over` ends it if nobody waits for it any more and says so."""

    model: str
    size_bytes: int
    go: Callable[[], None]
    over: Callable[[], bool]


class RoomQueue:
    """For one event loop; its task lives while calls wait."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: list[Held] = []
        self._task: asyncio.Task[None] | None = None

    def hold(self, held: Held) -> None:
        """Raises SpoolFull when too many wait."""
        size = sum(each.size_bytes for each in self._held) + held.size_bytes
        if len(self._held) >= MOST_CALLS or (self._held and size > MOST_BYTES):
            text = f"the spool is full, and {len(self._held)} calls wait for room in it; more are not taken in"
            raise SpoolFull(f"{held.model}: {text}", 1.0)
        self._held.append(held)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._wait(), name="wait for room in the spool")

    async def _wait(self) -> None:
        try:
            while self._held:
                room = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._spool.until_room()
                        room = True
                self._held = [held for held in self._held if not held.over()]
                if room:
                    held, self._held = self._held, []
                    _go(held)
        finally:
            self._task = None


def _go(held: Sequence[Held]) -> None:
    for each in held:
        each.go()
