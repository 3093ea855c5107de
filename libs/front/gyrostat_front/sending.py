"""What leaves a connection: frames in order, within the peer's windows, in one write at the end of a turn."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING

from gyrostat_front import hpack
from gyrostat_front.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    FLOW_CONTROL_ERROR,
    HEADERS,
    LARGEST_WINDOW,
    SMALLEST_FRAME,
    Broken,
    Violation,
    frame,
    reset,
    uint32,
)
from gyrostat_front.messages import HEAD_BYTES, Unreadable

if TYPE_CHECKING:
    from gyrostat_front.call import Call
    from gyrostat_front.host import Host

OK_HEAD = b"\x88" + hpack.field(b"content-type", b"application/grpc")
OK_TRAILER = hpack.field(b"grpc-status", b"0")
_HEAD_FRAME = uint32(len(OK_HEAD) << 8 | HEADERS) + bytes((END_HEADERS,))
_TRAILER_FRAME = uint32(len(OK_TRAILER) << 8 | HEADERS) + bytes((END_HEADERS | END_STREAM,))
_before = struct.Struct(f">5sI{len(OK_HEAD)}sIBIBI").pack
"""The frame of the head, and the beginning of a DATA frame with the beginning of a message."""
_after = struct.Struct(f">5sI{len(OK_TRAILER)}s").pack
FLUSH_BYTES = 128 * 1024


class Outbox:
    """What a stream has to say and may not yet."""

    __slots__ = ("chunks", "drained", "trailer")

    def __init__(self) -> None:
        self.chunks: deque[memoryview] = deque()
        self.trailer: bytes | None = None
        self.drained: asyncio.Future[None] | None = None


class Sender:
    """The writing side of one connection."""

    def __init__(self, host: Host, transport: asyncio.Transport) -> None:
        self._host, self._transport = host, transport
        self.out: list[bytes] = []
        self.window, self.first_window, self.frame_bytes = FIRST_WINDOW, FIRST_WINDOW, SMALLEST_FRAME
        self.waiting: dict[int, Call] = {}
        """Streams with something to say that wait for the connection, by number."""
        self.unsent_bytes = 0
        self.moved = 0
        """Frames of DATA that could be sent, ever."""
        self.reading, self.scheduled, self.paused = False, False, False
        self._fresh = 0
        """Bytes of DATA in `out`."""
        self._stuck = 0
        """Bytes that the transport had when it was full; counted as unsent."""

    def write(self, raw: bytes) -> None:
        """Sends a frame with all else of this turn."""
        self.out.append(raw)
        if not self.reading and not self.scheduled:
            self._host.schedule(self)

    def flush(self) -> None:
        """Hands everything to the transport, unless that has closed since it was written."""
        out = self.out
        if out:
            self.out, self._fresh = [], 0
            if not self._transport.is_closing():
                self._transport.write(b"".join(out))

    def reply(self, call: Call, message: bytes) -> None:
        """A whole unary answer, OK: head, message and trailer. The usual case is one piece."""
        size = len(message) + HEAD_BYTES
        if (
            size > self.window
            or size > self.first_window + call.credit
            or size > self.frame_bytes
            or self.waiting
            or self.paused
            or call.begun
        ):
            try:
                call.put(message)
            except Unreadable as error:
                call.fail(error.code, error.text)
                return
            self.end(call, OK_TRAILER)
            return
        self.window -= size
        stream = call.stream
        self.out += (
            _before(_HEAD_FRAME, stream, OK_HEAD, size << 8, 0, stream, 0, size - HEAD_BYTES),
            message,
            _after(_TRAILER_FRAME, stream, OK_TRAILER),
        )
        self._fresh += size
        if self._fresh > FLUSH_BYTES:  # lets the transport say when it is full
            self.flush()
        elif not self.reading and not self.scheduled:
            self._host.schedule(self)
        call.done = True
        call.connection.over(call)

    def head(self, call: Call, block: bytes) -> None:
        """The response's header block, once."""
        if not call.begun:
            call.begun = True
            self._fields(call.stream, 0, block)

    def data(self, call: Call, chunk: bytes) -> None:
        """Sends the bytes as windows allow."""
        outbox = call.outbox
        if outbox is None:
            room = min(self.window, self.first_window + call.credit, self.frame_bytes)
            if len(chunk) <= room and not self.waiting and not self.paused:
                self._frame(call, chunk)
                return
            outbox = call.outbox = Outbox()
        outbox.chunks.append(memoryview(chunk))
        self.waiting[call.stream] = call
        self._count(len(chunk))
        self.pump()
        limits = self._host.limits
        if self.unsent_bytes > limits.unsent_bytes + limits.message_bytes:
            call.connection.shed("replies that are not taken")
        elif self._host.unsent_bytes > limits.all_unsent_bytes:
            self._host.too_much(held=False)

    def end(self, call: Call, trailer: bytes) -> None:
        """The trailer behind everything else; then the stream is over."""
        call.said = True
        if call.outbox is not None:
            call.outbox.trailer = trailer
            return
        self._last(call, trailer)

    def only(self, call: Call, block: bytes) -> None:
        """An answer that is one header block."""
        call.begun = True
        self._last(call, block)

    def forget(self, call: Call) -> None:
        """The stream is over: what it had to say is not sent any more."""
        outbox = call.outbox
        self.waiting.pop(call.stream, None)
        if outbox is None:
            return
        call.outbox = None
        self._count(-sum(len(chunk) for chunk in outbox.chunks))
        if outbox.drained is not None and not outbox.drained.done():
            outbox.drained.set_result(None)

    def full(self) -> None:
        """The transport takes no more for now."""
        if not self.paused:
            self.paused, self._stuck = True, self._transport.get_write_buffer_size()
            self._count(self._stuck)

    def taken(self) -> None:
        """It takes more, or nothing ever again."""
        self.paused = False
        self._count(-self._stuck)
        self._stuck = 0

    def _count(self, more: int) -> None:
        self.unsent_bytes += more
        self._host.unsent_bytes += more

    def _last(self, call: Call, block: bytes) -> None:
        self._fields(call.stream, END_STREAM, block)
        if not call.ended:
            self.write(reset(call.stream, 0))
        call.finished()

    def _fields(self, stream: int, flags: int, block: bytes) -> None:
        most = self.frame_bytes
        if len(block) <= most:
            self.write(frame(HEADERS, flags | END_HEADERS, stream, block))
            return
        self.write(frame(HEADERS, flags, stream, block[:most]))
        for at in range(most, len(block), most):
            last = at + most >= len(block)
            self.write(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[at : at + most]))

    def _frame(self, call: Call, chunk: bytes | memoryview) -> None:
        self.window -= len(chunk)
        call.credit -= len(chunk)
        self.moved += 1
        self._fresh += len(chunk)
        self.write(frame(DATA, 0, call.stream, bytes(chunk)))
        if self._fresh > FLUSH_BYTES:
            self.flush()

    # ---- windows -------------------------------------------------------------------------------------------------

    def granted(self, more: int) -> None:
        """The peer lets this connection send more. Raises Violation when that is more than there can be."""
        self.window += more
        if self.window > LARGEST_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, "a window beyond its largest")
        if self.waiting:
            self.pump()

    def stream_granted(self, call: Call, more: int) -> None:
        """The peer lets this stream send more. Raises Broken when that is more than there can be."""
        call.credit += more
        if self.first_window + call.credit > LARGEST_WINDOW:
            raise Broken(FLOW_CONTROL_ERROR, "a window beyond its largest")
        if call.outbox is not None:
            self.waiting[call.stream] = call
            self.pump()

    def first_window_is(self, size: int, calls: dict[int, Call]) -> None:
        """The peer changes the window that every stream begins with, those that are open too."""
        self.first_window = size
        for call in calls.values():
            if size + call.credit > LARGEST_WINDOW:
                raise Violation(FLOW_CONTROL_ERROR, "a window beyond its largest")
            if call.outbox is not None:
                self.waiting[call.stream] = call
        self.pump()

    def pump(self) -> None:
        """Sends what waits, a frame of each stream in turn, as far as windows and transport go."""
        while self.waiting and self.window > 0 and not self.paused:
            for call in list(self.waiting.values()):
                self._some(call)
                if self.window <= 0 or self.paused:
                    return

    def _some(self, call: Call) -> None:
        """A frame of the stream; it leaves the queue when it is over or its own window is."""
        outbox = call.outbox
        assert outbox is not None
        room = min(self.window, self.first_window + call.credit, self.frame_bytes)
        if outbox.chunks and room > 0:
            chunk = outbox.chunks[0]
            part = chunk[:room]
            if len(part) == len(chunk):
                outbox.chunks.popleft()
            else:
                outbox.chunks[0] = chunk[room:]
            self._count(-len(part))
            self._frame(call, part)
        elif outbox.chunks:
            del self.waiting[call.stream]
        if not outbox.chunks:
            self._drained(call, outbox)

    def _drained(self, call: Call, outbox: Outbox) -> None:
        del self.waiting[call.stream]
        call.outbox = None
        if outbox.trailer is not None:
            self._last(call, outbox.trailer)
        if outbox.drained is not None and not outbox.drained.done():
            outbox.drained.set_result(None)
