"""A peer of the front without a socket, a loop or a clock that runs by itself: bytes in, frames out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hpack

from gyrostat_front.call import Call
from gyrostat_front.connection import Connection
from gyrostat_front.host import Host
from gyrostat_front.limits import Limits
from gyrostat_front.watch import Watched
from support.http2 import ACK, DATA, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, Answer, Frame, frame, settings

LANE = "/test.Lane/Call"


class StillLoop:
    """A loop whose time is set, and whose turns end when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[Callable[[], Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self._soon.append(callback)

    def turn(self) -> None:
        """Runs what was to run soon."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()


class Wire:
    """A transport that keeps what is written; `most` bytes fill it."""

    def __init__(self, most: int = 1 << 40) -> None:
        self.written: list[bytes] = []
        self.buffered, self.most = 0, most
        self.closed = self.aborted = False
        self.reading = True
        self.connection: Connection | None = None

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 4711) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """As given to `most`."""

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def write(self, raw: bytes) -> None:
        if self.aborted:
            raise RuntimeError("the handler is closed")  # as uvloop's transports do
        self.written.append(raw)
        self.buffered += len(raw)
        if self.buffered > self.most and self.connection is not None:
            self.connection.pause_writing()

    def take(self) -> None:
        """The kernel takes all of it."""
        full, self.buffered = self.buffered > self.most, 0
        if full and self.connection is not None:
            self.connection.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def echoes(call: Call) -> bool:
    """A lane that answers at once."""
    call.reply(call.message)
    return True


@dataclass
class Peer:
    """A connection to a front whose lane keeps its calls in `calls`; others are in `general`."""

    limits: Limits = field(default_factory=Limits)
    first: bytes = settings()
    loop: StillLoop = field(default_factory=StillLoop)
    wire: Wire = field(default_factory=Wire)
    beside: Peer | None = None
    """Another on the same front, with which it shares `calls` and `general`."""

    def __post_init__(self) -> None:
        other = self.beside
        self.calls: list[Call] = other.calls if other else []
        self.general: list[Call] = other.general if other else []
        self.host = other.host if other else Host(self.loop, self.limits, self._take)  # type: ignore[arg-type]
        self.host.lanes.setdefault(LANE.encode(), self._keep)
        self.connection = Connection(self.host)
        self.wire.connection = self.connection
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self.watched = Watched(self.connection, self.limits)
        self._decoder, self._rest = hpack.Decoder(), b""
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.frames: list[Frame] = []
        if self.first:
            self.send(PREFACE + self.first)
            self.read()

    def _keep(self, call: Call) -> bool:
        self.calls.append(call)
        return True

    def _take(self, call: Call) -> None:
        call.general = True
        call.opened()
        call.on_gone = lambda: None
        self.general.append(call)

    def send(self, *frames: bytes) -> None:
        """In one read of the socket, and the turn ends."""
        self.connection.data_received(b"".join(frames))
        self.loop.turn()

    def passes(self, seconds: float) -> None:
        """So much later, somebody looks."""
        self.loop.now += seconds
        self.watched.look(self.loop.now)
        self.loop.turn()

    def read(self) -> list[Frame]:
        """The frames that came since the last time; noted in `answers` and `goaway`."""
        raw = self._rest + b"".join(self.wire.written)
        self.wire.written.clear()
        new, at = [], 0
        while len(raw) - at >= 9:
            end = at + 9 + int.from_bytes(raw[at : at + 3], "big")
            if end > len(raw):
                break
            got = Frame(raw[at + 3], raw[at + 4], int.from_bytes(raw[at + 5 : at + 9], "big"), raw[at + 9 : end])
            new.append(got)
            self._note(got)
            at = end
        self._rest = raw[at:]
        return new

    def _note(self, got: Frame) -> None:
        answer = self.answers.setdefault(got.stream, Answer())
        if got.kind == DATA:
            answer.content += got.payload
        elif got.kind == HEADERS:
            answer.fields |= {str(name): str(text) for name, text in self._decoder.decode(got.payload)}
        elif got.kind == RST_STREAM:
            answer.reset = int.from_bytes(got.payload, "big")
        elif got.kind == GOAWAY:
            self.goaway = int.from_bytes(got.payload[4:8], "big")

    def answer(self, stream: int) -> Answer:
        """What has come on a stream until now."""
        self.read()
        return self.answers.get(stream, Answer())

    def acknowledges(self) -> None:
        """The answer to the front's SETTINGS."""
        self.send(frame(SETTINGS, ACK))
