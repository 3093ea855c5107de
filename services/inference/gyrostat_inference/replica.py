"""What speaks for the replica: when it is ready, its heartbeat with the books of its spools, and its shipper.

Used by `app` where one process is the whole replica, and by `supervisor` where several answer.
"""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from gyrostat_common import telemetry
from gyrostat_common.bus import Producer, StateReader
from gyrostat_common.clock import SystemClock
from gyrostat_inference.domain.books import Books, Written, joined
from gyrostat_inference.domain.live import Applied
from gyrostat_inference.events.heartbeat import heartbeat
from gyrostat_inference.settings import Settings, environ_of
from gyrostat_inference.store.shipping import read_books
from gyrostat_inference.store.spool import Limits, Room

log = telemetry.get_logger("inference")
SHIPPER_RESTART_S, SHIPPER_STEADY_S, KAFKA_DOWN_S, MEND_S = 1.0, 10.0, 5.0, 20.0
SPOOL_ALARM = 0.8


class Models(Protocol):
    """What is live, of one process or of all."""

    def models(self) -> Collection[object]: ...
    def not_ready(self) -> str | None: ...
    def applied(self) -> Iterable[Applied]: ...
    def revisions(self) -> Mapping[str, int]: ...


class Applying(Protocol):
    """How far the plans are put in force."""

    @property
    def restored(self) -> int: ...
    @property
    def busy(self) -> bool: ...


def replica_name(settings: Settings) -> str:
    """The name in heartbeats."""
    return settings.replica or f"{socket.gethostname()}-{os.getpid()}"


def room_of(settings: Settings) -> Room:
    """As full as it is now."""
    limits = Limits(settings.spool_max_bytes, settings.spool_max_age_s)
    room = Room(Path(settings.spool_folder), limits, on_full=settings.spool_on_full)
    room.measure()
    return room


class Readiness:
    """Ready: the plans are read to the end that was there at start, or the cache is all there is; champions answer.

    A plan that cannot be read is there for every replica at once: those with models go on answering by theirs. One
    without gives the registry a moment to write over it; a key that is still held then is nobody's, and no reason to
    stay away.
    """

    def __init__(
        self,
        models: Models,
        applying: Applying,
        state: StateReader,
        producer: Producer,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._applying, self._state, self._producer = models, applying, state, producer
        self._now, self._began, self._been_ready = now, now(), False

    def reason(self) -> str | None:
        """Why the service is not ready; None when it is."""
        unread, read = self._state.problem, self._state.caught_up.is_set()
        if unread is not None and not self._models.models() and not (read and self._now() - self._began > MEND_S):
            return f"plans cannot be read: {unread}"
        if unread is None and not read and not (self._applying.restored and self._kafka_down()):
            return f"plans are not read to the end yet: {self._producer.problem or 'reading'}"
        if self._applying.busy and not self._been_ready:
            return "the first plans are being put in force"
        reason = self._models.not_ready()
        self._been_ready = self._been_ready or reason is None
        return reason

    def _kafka_down(self) -> bool:
        return self._producer.problem is not None or self._now() - self._began > KAFKA_DOWN_S


def filling(room: Room, problems: Iterable[str | None]) -> str | None:
    """Answers are dropped, or refused, when the spool is full or the disk refuses one of its writers, which `problems`
    tell.
    """
    refused = next((problem for problem in problems if problem is not None), None)
    if refused is not None:
        return refused
    if room.disk_full:
        return "the disk of the spool is full: new answers are not kept until there is room"
    if room.used_ratio < SPOOL_ALARM:
        return None
    kept = "" if room.share == 1.0 else f"; {room.share:.1%} of new ones are kept"
    return f"{room.used_ratio:.0%} of the spool's room is taken by answers that are not shipped{kept}"


def books_below(root: Path, written: Callable[[], Iterable[Written]]) -> list[Books]:
    """Every spool below the folder: the shipper's count, and of our writers' what it has not seen yet. The writers are
    asked last: what the shipper has counted they have written.
    """
    shipped = read_books(root)
    return joined(shipped, written())


class Beats:
    """plan.applied at every change and every few seconds; the newest one only, while Kafka is down."""

    def __init__(
        self,
        settings: Settings,
        replica: str,
        models: Models,
        producer: Producer,
        books: Callable[[], Awaitable[list[Books]]],
    ) -> None:
        self._settings, self._replica, self._models = settings, replica, models
        self._producer, self._books, self._clock = producer, books, SystemClock()

    async def run(self, changed: asyncio.Event) -> None:
        """Until cancelled."""
        while True:
            changed.clear()
            books = await self._books()
            event = heartbeat(
                self._replica,
                self._settings.environment,
                self._clock.now(),
                self._models.applied(),
                self._models.revisions(),
                books,
            )
            await self._producer.send(event)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_s):
                    await changed.wait()


@asynccontextmanager
async def shipping(settings: Settings, replica: str) -> AsyncIterator["ShipperProcess"]:
    """The shipper as a child, started again when it ends. At the close it ships what is there, for a while."""
    shipper = ShipperProcess(replica, {**os.environ, **environ_of(settings)})
    if not settings.ship:
        yield shipper
        return
    keeper = asyncio.create_task(shipper.keep(), name="keep the shipper")
    try:
        yield shipper
    finally:
        shipper.finish()
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(settings.ship_at_close_s + 12.0):
                await keeper
        await shipper.kill()


class ShipperProcess:
    """`gyrostat_inference.shipper` in a process of its own."""

    def __init__(self, replica: str, environ: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "gyrostat_inference.shipper"]
        self._command += ["--parent", str(os.getpid()), "--replica", replica]
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._closing = False
        self.problem: str | None = None
        """Why answers are not shipped; None while it runs, or was never started."""

    async def keep(self) -> None:
        """Starts it, and again whenever it ends, until `finish`."""
        while not self._closing:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, env=self._environ
            )
            code = await self._steady(self._process)
            if self._closing:
                return
            log.error("shipper_ended", code=code)
            self.problem = f"the shipper ended with code {code} and is started again; answers wait in the spool"
            await asyncio.sleep(SHIPPER_RESTART_S)

    async def _steady(self, process: asyncio.subprocess.Process) -> int:
        """Waits for its end; what keeps ending is a problem until it has run for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHIPPER_STEADY_S):
                return await process.wait()
        self.problem = None
        return await process.wait()

    def finish(self) -> None:
        """Asks it to ship what is there and end."""
        self._closing = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def kill(self) -> None:
        """Ends it if it still runs; what it did not ship stays in the spool."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
