"""The dead man's switch of a reading loop: a loop that has come round no more for too long is a problem, whatever holds
it up: a handler, a rebalance, a client that waits for ever. Wall time, by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gyrostat_common import telemetry

still_seconds = telemetry.gauge(
    "gyrostat_consumer_still_seconds",
    "Seconds since the reading loop last completed a fetch, also an empty one; 0 while Kafka is away",
    ("group",),
)


class Pulse:
    """One per loop. Beats when a fetch is complete; rests while there is no connection, which is told elsewhere."""

    def __init__(self, group: str, still_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._still_s, self._now = still_s, now
        self._last: float | None = None
        still_seconds.labels(group).set_function(self.still)

    def beat(self) -> None:
        """The loop has come round."""
        self._last = self._now()

    def rest(self) -> None:
        """There is nothing to come round to."""
        self._last = None

    def still(self) -> float:
        """Seconds since the last beat; 0 at rest."""
        return 0.0 if self._last is None else self._now() - self._last

    @property
    def problem(self) -> str | None:
        """Says so when the loop stands still."""
        still = self.still()
        if still <= self._still_s:
            return None
        return f"no fetch was completed for {still:.0f} s: what it handles hangs, or its group; if it stays, restart it"

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """For a wait on the client: cut off, with TimeoutError, when it takes so long that the loop stands still. Who
        catches it begins again with a new client.
        """
        async with asyncio.timeout(self._still_s):
            yield
        self.beat()
