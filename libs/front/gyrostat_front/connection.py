"""One connection: the frames of a socket read in one pass, and what they mean for its streams."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from gyrostat_front import control
from gyrostat_front.call import SMALL_BYTES, Call
from gyrostat_front.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FIRST_WINDOW,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE,
    FRAME_SIZE_ERROR,
    HEAD_BYTES,
    HEADERS,
    INTERNAL_ERROR,
    LIST_SIZE,
    MOST_STREAMS,
    PREFACE,
    PRIORITISED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    TABLE_SIZE,
    WINDOW,
    Broken,
    Violation,
    grant,
    read_head,
    read_uint32,
    reset,
    settings,
    unpadded,
)
from gyrostat_front.headers import Headers
from gyrostat_front.hpack import Decoder
from gyrostat_front.messages import Unreadable, held_too_much, read_message
from gyrostat_front.requests import answer_oddity
from gyrostat_front.sending import Sender
from gyrostat_front.session import STREAM_MASK, Session

if TYPE_CHECKING:
    from gyrostat_front.host import Host

log = logging.getLogger("gyrostat_front")


class Block:
    """A header block that has begun and goes on in CONTINUATION."""

    def __init__(self, stream: int, flags: int, raw: bytes) -> None:
        self.stream, self.flags, self.raw, self.frames = stream, flags, raw, 0


class Connection(Session, asyncio.Protocol):
    """Nothing that a peer sends makes `data_received` raise."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        limits = host.limits
        self._most_streams = limits.streams
        self._decoder = Decoder(limits.header_list_bytes)
        self._memo = self._decoder.memo
        self._asked = False
        """The peer has been asked to do without HPACK's table."""
        self._room = self._window = limits.connection_window_bytes
        self._rest = b""
        self._block: Block | None = None

    # ---- what the transport says ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host = self.host
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self.sender = Sender(host, transport)
        self.peer = _peer(transport.get_extra_info("peername"))
        tls = transport.get_extra_info("ssl_object")
        other = tls is not None and tls.selected_alpn_protocol() != "h2"
        if other or host.closed or len(host.connections) >= host.limits.connections:
            self.closing = True
            host.count("not HTTP/2" if other else "one connection more")
            transport.abort()
            return
        host.connections.add(self)
        limits = host.limits
        transport.set_write_buffer_limits(high=limits.unread_bytes)
        said = {MOST_STREAMS: limits.streams, WINDOW: limits.stream_window_bytes, FRAME_SIZE: limits.frame_bytes}
        self.sender.write(settings(said | {LIST_SIZE: limits.header_list_bytes}))
        self.sender.write(grant(0, self._window - FIRST_WINDOW))

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.host.connections.discard(self)
        self.drop()
        self.sender.taken()

    def pause_writing(self) -> None:
        self.sender.full()
        # Answers to pings and settings would heap up: a peer that does not read is not read.
        if not self.closing:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.sender.taken()
        if not self.closing:
            self.transport.resume_reading()
            self.sender.pump()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        sender = self.sender
        if self._rest:
            data = self._rest + data
        self.heard = self.host.now()
        sender.reading = True
        try:
            at = 0 if self.greeted else self._greet(data)
            if self.greeted:
                at = self._frames(data, at)
            if self._decoder.restless and not self._asked:
                self._asked = True
                sender.write(settings({TABLE_SIZE: 0}))
            if at < len(data):
                if not self._rest or at:
                    self.began = self.heard
                self._rest = data[at:]
            else:
                self._rest = b""
        except Violation as error:
            self.refuse(error.code, error.text)
        except Exception:  # a fault of ours ends this connection, not the server
            log.exception("a fault in the front")
            self.refuse(INTERNAL_ERROR, "internal error")
        finally:
            sender.reading = False
        sender.flush()

    @property
    def partial(self) -> bool:
        """A frame or a header block has begun and is not whole."""
        return bool(self._rest) or self._block is not None

    def rest(self) -> None:
        """Nothing happens: gives back what only makes things faster."""
        self._decoder.rest()
        self.left.clear()

    # ---- frames -----------------------------------------------------------------------------------------------------

    def _greet(self, data: bytes) -> int:
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise Violation(PROTOCOL_ERROR, "not HTTP/2")
        if len(data) < len(PREFACE):
            return 0
        if len(data) > len(PREFACE) + 3 and data[len(PREFACE) + 3] != SETTINGS:
            raise Violation(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if len(data) < len(PREFACE) + HEAD_BYTES:
            return 0
        self.greeted = True
        return len(PREFACE)

    def _frames(self, data: bytes, at: int) -> int:  # noqa: C901 - the hot loop: once per frame of every request
        """Handles all whole frames from `at`; where the rest begins."""
        size, streams, memo, most = len(data), self.streams, self._memo, self.host.limits.frame_bytes
        while size - at >= HEAD_BYTES and not self.closing:
            high, low, kind, flags, stream = read_head(data, at)
            length = high << 16 | low
            if length > most:
                raise Violation(FRAME_SIZE_ERROR, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
            begin, end = at + HEAD_BYTES, at + HEAD_BYTES + length
            if end > size:
                break
            at = end
            stream &= STREAM_MASK
            if self._block is not None:
                self._continue(kind, flags, stream, data[begin:end])
            elif kind == DATA and flags == END_STREAM and length >= 5:
                call = streams.get(stream)
                compressed, whole = read_message(data, begin)
                plain = whole == length - 5 and not compressed
                if call is None or not plain or call.inbox is not None or call.ended or call.headers.odd:
                    self._data(flags, stream, data[begin:end])
                    continue
                self._room -= length
                if self._room * 2 < self._window:
                    self._consent()
                call.message = data[begin + 5 : end]
                call.ended = True
                (self.host.offer if length <= SMALL_BYTES else self.host.offer_large)(call)
            elif kind == DATA:
                self._data(flags, stream, data[begin:end])
            elif kind == HEADERS:
                block = data[begin:end]
                if flags != END_HEADERS:
                    self._headers(flags, stream, block)
                    continue
                headers = memo.get(block)
                self._opened(stream, self._decoder.decode(block) if headers is None else headers, False)
            else:
                control.handle(self, kind, flags, stream, data[begin:end])
        return at

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise Violation(PROTOCOL_ERROR, "HEADERS on stream 0")
        payload = unpadded(flags, payload)
        if flags & PRIORITISED:
            if len(payload) < 5:
                raise Violation(FRAME_SIZE_ERROR, "HEADERS with half a priority")
            if read_uint32(payload)[0] & STREAM_MASK == stream:
                raise Violation(PROTOCOL_ERROR, "a stream that depends on itself")
            payload = payload[5:]
        if not flags & END_HEADERS:
            self._block = Block(stream, flags, payload)
            self.began = self.heard
            return
        self._opened(stream, self._decoder.decode(payload), bool(flags & END_STREAM))

    def _continue(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        block = self._block
        assert block is not None
        if kind != CONTINUATION or stream != block.stream:
            raise Violation(PROTOCOL_ERROR, "another frame within a header block")
        block.frames += 1
        block.raw += payload
        limits = self.host.limits
        if block.frames > limits.continuations or len(block.raw) > limits.header_block_bytes:
            raise Violation(ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & END_HEADERS:
            self._block = None
            self._opened(stream, self._decoder.decode(block.raw), bool(block.flags & END_STREAM))

    def _opened(self, stream: int, headers: Headers, ended: bool) -> None:
        if stream <= self.last or not stream & 1:
            self._trailers(stream, headers, ended)
            return
        if stream != self.last + 2:
            self.gap = stream - 2
        self.last = stream
        host = self.host
        if len(self.streams) >= self._most_streams or self.last_taken is not None or self._full():
            self._turn_away(stream, ended)
            return
        host.streams += 1
        call = self.streams[stream] = Call(self, self.sender, stream, headers, self.heard)
        call.ended = ended
        if headers.odd and answer_oddity(call):
            return
        if ended or headers.path not in host.lanes:
            host.general(call)

    def _full(self) -> bool:
        """Too many streams are open and more than its share are this peer's, or it does not take its replies."""
        host, limits = self.host, self.host.limits
        return (
            host.streams >= limits.all_streams and len(self.streams) * len(host.connections) >= limits.all_streams
        ) or self.sender.unsent_bytes > limits.unsent_bytes

    def _turn_away(self, stream: int, ended: bool) -> None:
        """REFUSED_STREAM: nothing was done, the peer may try again elsewhere."""
        if self._told(stream):
            return
        self.odd(self.resets)
        self.sender.write(reset(stream, REFUSED_STREAM))
        if not ended:
            self.leave(stream)

    def _told(self, stream: int) -> bool:
        """A GOAWAY has said that this one is not answered; the peer tries it elsewhere, unless we say any more."""
        return self.last_taken is not None and stream > self.last_taken

    def _trailers(self, stream: int, headers: Headers, ended: bool) -> None:
        call = self.streams.get(stream)
        if call is None:
            if stream in self.left or self._told(stream):
                return
            if not stream & 1 or stream == 0 or stream <= self.gap:
                raise Violation(PROTOCOL_ERROR, "a new stream with an old or even number")
            raise Violation(STREAM_CLOSED, "HEADERS on a stream that is closed")
        if call.ended:
            self.broken(call, Broken(STREAM_CLOSED, "HEADERS behind the end"))
        elif not ended or headers.wrong or any(name[:1] == ":" for name, _ in headers.pairs):
            self.broken(call, Broken(PROTOCOL_ERROR, "trailers that are none"))
        else:
            self._take(call, END_STREAM, b"", 0)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        """DATA that is not simply a whole request."""
        size = len(payload)
        self._room -= size
        if self._room < 0:
            raise Violation(FLOW_CONTROL_ERROR, "more than the connection's window allows")
        if self._room * 2 < self._window:
            self._consent()
        if not stream or stream > self.last:
            raise Violation(PROTOCOL_ERROR, "DATA on a stream that is not open")
        payload = unpadded(flags, payload)
        call = self.streams.get(stream)
        if call is None:
            self.odd(self.oddities)
            if stream not in self.left and not self._told(stream):
                self.sender.write(reset(stream, STREAM_CLOSED))
        elif call.ended:
            self.broken(call, Broken(STREAM_CLOSED, "DATA behind the end"))
        else:
            if not payload and not flags & END_STREAM:
                self.odd(self.oddities)
            self._take(call, flags, payload, size)

    def _take(self, call: Call, flags: int, payload: bytes, size: int) -> None:
        """Part of a request, or its end."""
        limits, host, ended = self.host.limits, self.host, bool(flags & END_STREAM)
        try:
            self.hold(call.receives(payload, size, ended))
            if self.held_bytes > limits.held_bytes:
                raise held_too_much()
        except Unreadable as error:
            call.unreadable(error)
            return
        except Broken as error:
            self.broken(call, error)
            return
        if call.done:
            return
        call.wake()
        if ended and call.headers.odd and answer_oddity(call):
            return
        if ended and not call.general:  # nobody has it yet: a lane's
            host.offer_parts(call)

    def _consent(self) -> None:
        """Lets the peer send more; what a stream may send is limited by its own window."""
        self.sender.write(grant(0, self._window - self._room))
        self._room = self._window


def _peer(name: object) -> str:
    """As gRPC writes it.

    >>> _peer(("127.0.0.1", 4711)), _peer(("::1", 4711, 0, 0)), _peer("")
    ('ipv4:127.0.0.1:4711', 'ipv6:%5B::1%5D:4711', 'unix:')
    """
    if not isinstance(name, tuple):
        return f"unix:{name or ''}"
    host, port = name[:2]
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}" if ":" in host else f"ipv4:{host}:{port}"
