"""Ships one spool: reads it, cuts frames, writes the cut down, sends, and moves on over what is acknowledged.

Run by the shipper process, one `ShipSpool` per spool folder. Frames of one stream go out one after the other, because
a consumer takes a frame that comes after a later one for a duplicate.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

from gyrostat_common.clock import Clock
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain import frames as framing
from gyrostat_inference.domain.alike import Alike, Table, alike
from gyrostat_inference.domain.books import Books, added
from gyrostat_inference.domain.cuts import Cut, Number, Numbering, Progress
from gyrostat_inference.domain.entries import Counted, Group, NoEntry, Rows, decode
from gyrostat_inference.domain.frames import Frame

CUT_ROWS, CUT_BYTES, CUT_AFTER_S, IN_FLIGHT = 16_384, 2 * 1024 * 1024, 0.2, 64
CORRUPT, REFUSED = "corrupt", "refused"


class SpoolEntry(Protocol):
    """An entry as the store reads it, or many of one row each and of one length: then `table` has a payload a line."""

    @property
    def sequence(self) -> int: ...
    @property
    def before(self) -> int: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def table(self) -> Table | None: ...
    def parted(self, sequence: int) -> "tuple[SpoolEntry, SpoolEntry]":
        """Of many: those up to `sequence`, and the others."""
        ...


class Reader(Protocol):
    """Reads a spool onwards from a sequence number."""

    @property
    def last(self) -> int: ...
    def read(self) -> Sequence[SpoolEntry]: ...


class Notebook(Protocol):
    """Keeps cuts and progress across a restart."""

    spool_id: str
    progress: Progress
    numbering: Numbering
    unsettled: list[Cut]

    def write(self, cut: Cut) -> None: ...
    def settle(self, cut: Cut, refused: Mapping[str, int]) -> None: ...
    def publish(self, accepted: int) -> None: ...


class Sender(Protocol):
    """Puts frames on the log."""

    async def send(self, frame: Frame, number: Number, cut: Cut, books: Books) -> None:
        """Returns after the ack, however long that takes. Raises InvalidInput when the broker will never take it."""
        ...

    async def keep(self, values: Mapping[str, bytes]) -> None:
        """Puts values that are too large for a frame into the artifact store, by digest."""
        ...


@dataclass
class _Range:
    """What was read since the last cut."""

    rows: list[tuple[int, Rows | Alike]] = field(default_factory=list)
    end: int = 0
    count: int = 0
    bytes: int = 0
    sampled_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    since: float = 0.0

    @property
    def empty(self) -> bool:
        return not (self.count or self.sampled_out or self.dropped)

    def drop(self, rows: int, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + rows


class ShipSpool:
    """One spool, from where its notebook left off to the end."""

    def __init__(
        self,
        notebook: Notebook,
        reader: Callable[[int], Reader],
        sender: Sender,
        clock: Clock,
        in_flight: asyncio.Semaphore,
    ) -> None:
        self._notebook, self._sender, self._clock, self._in_flight = notebook, sender, clock, in_flight
        self._groups: dict[int, Group] = {}
        self._reader = reader(notebook.progress.end)
        self._range = _Range(end=notebook.progress.end)
        self._queue: list[SpoolEntry] = []
        self._last_of_stream: dict[tuple[str, int], asyncio.Task[int]] = {}
        self._open: list[tuple[Cut, list[asyncio.Task[int]]]] = []
        self._sending: set[asyncio.Task[int]] = set()
        self._cut_no = notebook.progress.cut

    @property
    def accepted(self) -> int:
        """The last sequence number seen so far."""
        return max(self._reader.last, self._range.end)

    @property
    def idle(self) -> bool:
        """Everything that was read is settled."""
        return self._range.empty and not self._open and not self._queue

    @property
    def behind(self) -> bool:
        """More was read already than a cut may hold."""
        return bool(self._queue)

    async def resume(self) -> None:
        """Sends again what was cut and not settled: the same frames, under the same numbers."""
        for cut in list(self._notebook.unsettled):
            self._take(cut.end)
            self._range.end = cut.end
            frames, large = framing.cut(self._range.rows, self._groups, cut.frame_rows)
            if (len(frames), self._range.count) != (len(cut.numbers), cut.rows):
                frames, large = [], {}  # the disk has lost rows of it: nothing that could go out would be the same
            await self._send(cut, frames, large)

    async def step(self, now: float, stopping: bool = False) -> bool:
        """Reads on, cuts if it is time to, settles what is through. False: nothing to do at the moment."""
        worked = self._take(None)
        span = self._range
        full = span.count >= CUT_ROWS or span.bytes >= CUT_BYTES
        if not span.empty and (full or stopping or now - span.since >= CUT_AFTER_S):
            await self._cut()
            worked = True
        self.settle()
        return worked

    def finish(self) -> None:
        """The writer is gone and everything is read: what its last segments should have held is lost."""
        if not self._queue and self._reader.last > self._range.end:
            self._range.drop(self._reader.last - self._range.end, CORRUPT)
            self._range.end = self._reader.last

    def _take(self, until: int | None) -> bool:
        """Takes entries into the present range: those up to `until`, or as many as a cut may hold."""
        took = False
        while self._queue or self._read():
            full = self._range.count >= CUT_ROWS or self._range.bytes >= CUT_BYTES
            if full if until is None else not self._reaches(until):
                break
            found = self._queue.pop()
            if found.table is None:
                self._add(found.sequence, found.payload)
            else:
                self._add_table(found.before, found.table)
            took = True
        return took

    def _reaches(self, until: int) -> bool:
        """Whether the next goes up to `until`; of a run only that part stays next."""
        following = self._queue[-1]
        if following.sequence <= until:
            return True
        if following.table is not None and following.before < until:
            self._queue[-1:] = reversed(following.parted(until))
            return True
        return False

    def _read(self) -> bool:
        self._queue = list(reversed(self._reader.read()))
        return bool(self._queue)

    def _add_table(self, sequence: int, table: Table) -> None:
        """Payloads of one row each, behind the row `sequence`."""
        for part in alike(table, self._groups):
            if isinstance(part, bytes):
                sequence += 1
                self._add(sequence, part)
            else:
                sequence += part.rows
                self._count(sequence, part, part.table.size)

    def _add(self, sequence: int, payload: bytes) -> None:
        try:
            said = decode(payload, self._groups)
        except NoEntry:
            said = Counted(max(sequence - self._range.end, 0), CORRUPT)
        if said is not None:
            self._count(sequence, said, len(payload))

    def _count(self, sequence: int, said: Rows | Alike | Counted, size: int) -> None:
        """What ends at `sequence`; rows that should stand in front of it and do not are lost. What says more rows than
        there are numbers since the last is a copy of something, or nonsense.
        """
        span = self._range
        if sequence - said.rows < span.end:
            said = Counted(max(sequence - span.end, 0), CORRUPT)
            if not said.rows:
                return
        if span.empty:
            span.since = asyncio.get_running_loop().time()
        if sequence - said.rows > span.end:
            span.drop(sequence - said.rows - span.end, CORRUPT)
        if not isinstance(said, Counted):
            span.rows.append((sequence - said.rows + 1, said))
            span.count += said.rows
            span.bytes += size
        elif said.reason:
            span.drop(said.rows, said.reason)
        else:
            span.sampled_out += said.rows
        span.end = sequence

    async def _cut(self) -> None:
        """Numbers the frames of the present range, writes that down, and sends them."""
        span, progress = self._range, self._notebook.progress
        frame_rows = framing.rows_a_frame(span.count, self._notebook.numbering.partitions)
        frames, large = framing.cut(span.rows, self._groups, frame_rows)
        pending = self._notebook.unsettled
        cut = Cut(
            cut=max(self._cut_no, progress.cut) + 1,
            end=span.end,
            at_us=int(self._clock.now().timestamp() * 1_000_000),
            numbers=self._notebook.numbering.number(frames),
            rows=span.count,
            sampled_out=span.sampled_out,
            dropped=dict(span.dropped),
            logged_before=progress.logged,
            sampled_before=progress.sampled_out + sum(earlier.sampled_out for earlier in pending),
            dropped_before=reduce(added, (earlier.dropped for earlier in pending), progress.dropped),
            frame_rows=frame_rows,
        )
        await asyncio.to_thread(self._notebook.write, cut)
        await self._send(cut, frames, large)

    async def _send(self, cut: Cut, frames: Sequence[Frame], large: Mapping[str, bytes]) -> None:
        """Starts a task for each frame of the cut; a task waits for the one before it in its stream."""
        self._range, self._cut_no = _Range(end=cut.end), cut.cut
        if large:
            await self._sender.keep(large)
        books = cut.books(self._notebook.spool_id)
        tasks = []
        for frame, number in zip(frames, cut.numbers, strict=False):
            await self._in_flight.acquire()
            stream = (number.model, number.partition)
            task = asyncio.create_task(self._one(frame, number, cut, books, self._last_of_stream.get(stream)))
            self._last_of_stream[stream] = task
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            tasks.append(task)
        self._open.append((cut, tasks))

    async def _one(self, frame: Frame, number: Number, cut: Cut, books: Books, before: asyncio.Task[int] | None) -> int:
        """Rows of the frame that were refused. Fails when the frame before it has: order is kept even then."""
        try:
            if before is not None:
                await asyncio.shield(before)
            await self._sender.send(frame, number, cut, books)
            return 0
        except InvalidInput:
            return frame.rows
        finally:
            self._in_flight.release()

    def settle(self) -> None:
        """Moves over the cuts whose frames are all acknowledged, oldest first."""
        while self._open and all(task.done() for task in self._open[0][1]):
            cut, tasks = self._open.pop(0)
            refused = {REFUSED: sum(task.result() for task in tasks)}
            if cut.rows and not tasks:
                refused = {CORRUPT: cut.rows}
            self._notebook.settle(cut, {reason: rows for reason, rows in refused.items() if rows})

    async def close(self) -> None:
        """Stops sending; what is not acknowledged is sent again by the next shipper."""
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
