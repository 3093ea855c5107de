"""Spools for tests: rows to put in, a log in memory that takes frames as Kafka does, and a shipper to its end."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gyrostat_common.clock import FixedClock
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows
from gyrostat_inference.domain.frames import Frame
from gyrostat_inference.events.frames import frame_message
from gyrostat_inference.store.segments import Segments
from gyrostat_inference.store.shipping import REWRITE_BYTES, Journal
from gyrostat_inference.store.spool import SEGMENT_BYTES, Limits, Room, Spool
from gyrostat_inference.usecases.ship import IN_FLIGHT, ShipSpool

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)
GROUP = Group(
    "production", "flights", 4, 1, "champion", 7, "", (ColumnSpec("x", "INT64", ()),), (ColumnSpec("y", "FP32", ()),)
)


def a_spool(root: Path, kind: str = "answer", limit_bytes: int = 2**31, segment_bytes: int = SEGMENT_BYTES) -> Spool:
    return Spool(root, kind, Room(root, Limits(limit_bytes)), segment_bytes)


def put(spool: Spool, first: int, rows: int, group: Group = GROUP) -> None:
    """Rows whose input `x` counts on from `first`, in the file."""
    take_in(spool, first, rows, group)
    spool.write()


def take_in(spool: Spool, first: int, rows: int, group: Group = GROUP) -> None:
    """The same rows, not written yet."""
    numbers = range(first, first + rows)
    entry = Rows(
        group=spool.number(group),
        rows=rows,
        event_time_us=first,
        arrival_us=first,
        latency_us=10,
        future=False,
        prediction_id=first.to_bytes(16, "big"),
        request_id=b"",
        traceparent=b"",
        entities=b"",
        entity_by_row=False,
        columns=[struct.pack(f"<{rows}q", *numbers), struct.pack(f"<{rows}f", *numbers)],
    )
    spool.append(group, entry)


class Refused(InvalidInput):
    """The broker will never take it."""


@dataclass
class MemoryLog:
    """Takes frames; acknowledges at once, or when `open_gate` is called; keeps every record that ever arrived."""

    journal: Journal | None = None
    gate: asyncio.Event | None = None
    refuse: frozenset[tuple[str, int]] = frozenset()
    records: list[tuple[str, int, bytes]] = field(default_factory=list)
    books: list[Books] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, frame: Frame, number: Number, cut: Cut, books: Books) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if (number.model, number.frame_no) in self.refuse:
                raise Refused("too large")
            message = frame_message(frame, number, cut, books, "replica")
            self.records.append((message.stream, message.frame_no, message.SerializeToString(deterministic=True)))
            self.books.append(books)
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.in_flight -= 1

    async def keep(self, values: Mapping[str, bytes]) -> None:
        self.artifacts.update(values)

    def taken_in(self) -> dict[tuple[str, int], bytes]:
        """What a consumer with a high-water mark per stream takes in; checks that there are no gaps."""
        marks: dict[str, int] = {}
        taken = {}
        for stream, frame_no, value in self.records:
            if frame_no <= marks.get(stream, 0):
                continue
            assert frame_no == marks.get(stream, 0) + 1, f"gap in {stream}"
            marks[stream] = frame_no
            taken[stream, frame_no] = value
        return taken

    def values(self) -> list[int]:
        """`x` of every row that a consumer takes in, sorted."""
        from gyrostat.events.v1 import events_pb2 as pb

        numbers: list[int] = []
        for value in self.taken_in().values():
            frame = pb.PredictionLogged.FromString(value)
            numbers += struct.unpack(f"<{frame.rows}q", frame.inputs[0].values)
        return sorted(numbers)


@dataclass
class Shipping:
    """A shipper on one spool, in this process."""

    folder: Path
    log: MemoryLog
    rewrite_bytes: int = REWRITE_BYTES

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder, 3, self.rewrite_bytes)
        self.ship = ShipSpool(
            self.journal,
            lambda after: Segments(self.folder, after),
            self.log,
            FixedClock(NOON),
            asyncio.Semaphore(IN_FLIGHT),
        )

    async def once(self) -> None:
        """Everything that is there now: read, cut and handed to the log."""
        while await self.ship.step(0.0, stopping=True):  # noqa: ASYNC110 - it works, it does not wait
            await asyncio.sleep(0)

    async def to_the_end(self, finish: bool = False) -> Books:
        """Until everything is acknowledged. `finish`: the writer is gone."""
        if self.ship.idle:
            await self.ship.resume()
        await self.once()
        if finish:
            self.ship.finish()
        while not self.ship.idle:
            await asyncio.sleep(0)
            await self.once()
        return self.books()

    def books(self) -> Books:
        return self.journal.progress.books(self.folder.name, self.ship.accepted)

    async def drop(self) -> None:
        """As a crash leaves it: nothing more is written."""
        await self.ship.close()
        self.journal.close()
