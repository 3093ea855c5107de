"""Calls that wait until the spool has room again, where the setting says so: not many, of bounded size, and each no
longer than somebody waits for its answer. Used by `predict`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gyrostat_inference.domain.errors import SpoolFull

MOST_CALLS, MOST_BYTES = 1024, 128 * 1024**2
# How often those are looked for who have gone, and some of the others are let go.
LOOK_S = 0.1
# The room is measured so often: nobody need come back sooner.
MEASURED_S = 1.0
# What a call takes in the spool beside its inputs, roughly.
_BESIDE_BYTES = 1024


class Spool(Protocol):
    """As those see it who wait for room in it."""

    @property
    def left_bytes(self) -> int: ...
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

    @property
    def holds(self) -> bool:
        """Whether calls wait; who comes later does not pass them by."""
        return bool(self._held)

    def hold(self, held: Held) -> None:
        """Raises SpoolFull when too many wait."""
        size = sum(each.size_bytes for each in self._held) + held.size_bytes
        if len(self._held) >= MOST_CALLS or (self._held and size > MOST_BYTES):
            text = f"the spool is full, and {len(self._held)} calls wait for room in it; more are not taken in"
            raise SpoolFull(f"{held.model}: {text}", MEASURED_S)
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
                if room and self._held:
                    self._let_go()
                    if self._held:  # the answers of those must be in the spool before it can be said what is left
                        await asyncio.sleep(LOOK_S)
        finally:
            self._task = None

    def _let_go(self) -> None:
        """The first of them, as many as there is room for, and one at least."""
        left, count = self._spool.left_bytes, 0
        while count < len(self._held) and (left > 0 or not count):
            left -= self._held[count].size_bytes + _BESIDE_BYTES
            count += 1
        going, self._held = self._held[:count], self._held[count:]
        for each in going:
            each.go()
