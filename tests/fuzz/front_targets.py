"""What the guided fuzzer drives of the front: a connection, HPACK beside another decoder, the messages of a stream.

Each takes bytes and returns, or raises what is a bug.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import hpack
from hpack.exceptions import HPACKError

from gyrostat_front import frames
from gyrostat_front.call import Call
from gyrostat_front.connection import Connection
from gyrostat_front.headers import Headers
from gyrostat_front.host import Host
from gyrostat_front.hpack import Decoder
from gyrostat_front.limits import Limits
from gyrostat_front.messages import Inbox, Unreadable, compressed, decompressed
from gyrostat_front.watch import Watched
from support import http2
from support.front_peer import StillLoop, Wire
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, asking, block, call, frame, message, settings

ONE, LANE = "/test.Bytes/One", "/test.Bytes/Lane"
LIMITS = Limits(message_bytes=65_536, held_bytes=262_144, unsent_bytes=65_536, streams=20)
MESSAGE_BYTES = 4096
SMALLEST_FRAME = 16_384
LIST_BYTES = 8192


class Faulty(AssertionError):
    """The front logged a fault of its own, or left something behind."""


class _Complaints(logging.Handler):
    """A fault that the front survives is a bug all the same."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        raise Faulty(record.getMessage()) from error


logging.getLogger("gyrostat_front").addHandler(_Complaints())


# ---- a connection ----------------------------------------------------------------------------------------------------


class Session:
    """A connection, the calls that wait for their answers, and chance, which the first bytes decide."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._loop, self.wire = StillLoop(), Wire(chance.choice((1 << 40, 2000)))
        self._waiting: list[Call] = []
        self.host = Host(self._loop, LIMITS, self._general)  # type: ignore[arg-type]
        self.host.lanes[LANE.encode()] = self._lane
        self.connection = Connection(self.host)
        self.wire.connection = self.connection
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self._watched = Watched(self.connection, LIMITS)

    def _lane(self, call: Call) -> bool:
        if self._chance.random() < 0.5:
            call.reply(call.message)
        else:
            self._waiting.append(call)
        return self._chance.random() < 0.9 or call.done or call in self._waiting

    def _general(self, call: Call) -> None:
        call.opened()
        call.header("x")
        call.general = True
        call.on_gone = lambda: None
        self._waiting.append(call)

    def feed(self, chunk: bytes) -> None:
        """One read of the socket, and whatever else happens in that turn."""
        self.connection.data_received(chunk)
        chance = self._chance
        if self._waiting and chance.random() < 0.5:
            self._answer(self._waiting.pop(chance.randrange(len(self._waiting))))
        if chance.random() < 0.2:
            self.wire.take()
        if chance.random() < 0.1:
            self._loop.now += chance.choice((0.1, 1.0, 50.0))
            self._watched.look(self._loop.now)
        if chance.random() < 0.02:
            self.connection.drain()
        self._loop.turn()

    def _answer(self, call: Call) -> None:
        inbox = call.opened()
        try:
            call.headers.metadata()
            while inbox.messages:
                call.receive().send(None)
        except StopIteration:
            pass
        except (Unreadable, ValueError, asyncio.CancelledError):
            call.fail(13, "no")
        match self._chance.randrange(4):
            case 0:
                call.reply(bytes(self._chance.choice((0, 5, 20_000, 100_000))))
            case 1:
                call.fail(5, "näh\n", (("reason", "x"), ("raw-bin", b"\0")))
            case 2:
                call.put(b"one", b"gzip")
                call.fail(0, "")
            case _:
                call.reset()

    def end(self) -> None:
        """The peer goes, perhaps with answers of this turn on their way. Raises Faulty when something of it stays."""
        if self._waiting and self._chance.random() < 0.5:
            self._answer(self._waiting.pop())
        self.wire.aborted = True  # what is written now raises
        self.connection.connection_lost(None)
        for one in self._waiting:
            one.reply(b"too late")
        self._loop.turn()
        host = self.host
        left = (host.held_bytes, host.unsent_bytes, host.streams, len(self.connection.streams), len(host.connections))
        if any(left):
            raise Faulty(f"left behind: {left}")


def connection(given: bytes) -> None:
    """The first two bytes are the seed of what else happens; the rest is what the peer sends."""
    chance = Random(given[:2])
    session, rest, at = Session(chance), given[2:], 0
    longest = chance.choice((1, 10, 100, 1 << 20))
    while at < len(rest):
        size = chance.randint(1, longest)
        session.feed(rest[at : at + size])
        at += size
    session.end()
    _frames_that_may_be(b"".join(session.wire.written))


def _frames_that_may_be(raw: bytes) -> None:
    """What was said back is HTTP/2."""
    at, decoder = 0, hpack.Decoder()
    while at < len(raw):
        size, kind = int.from_bytes(raw[at : at + 3], "big"), raw[at + 3]
        payload = raw[at + 9 : at + 9 + size]
        if len(payload) != size or kind > 9:
            raise Faulty("half a frame, or one that there is not")
        if kind == HEADERS and raw[at + 4] & END_HEADERS:
            decoder.decode(payload)
        at += 9 + size


# ---- HPACK -----------------------------------------------------------------------------------------------------------


def header_blocks(given: bytes) -> None:
    """Blocks of one connection, each behind two bytes of length, for our decoder, for one that remembers nothing of
    those before, and for another implementation's."""
    ours, forgetful, other = Decoder(LIST_BYTES), Decoder(LIST_BYTES), hpack.Decoder(max_header_list_size=1 << 30)
    at = 0
    while at + 2 <= len(given):
        size = int.from_bytes(given[at : at + 2], "big")
        raw = given[at + 2 : at + 2 + size]
        at += 2 + size
        mine, theirs = _ours(ours, raw), _theirs(other, raw)
        forgetful.rest()
        plainly = _ours(forgetful, raw)
        if _told(mine) != _told(plainly):
            raise Faulty(f"{raw.hex()}: {_told(mine)}, and by itself {_told(plainly)}")
        if not _agree(mine, theirs):
            raise Faulty(f"{raw.hex()}: ours {getattr(mine, 'pairs', mine)!r}, theirs {theirs!r}")
        if not isinstance(mine, Headers):
            return


def _ours(decoder: Decoder, raw: bytes) -> Headers | str:
    try:
        return decoder.decode(raw)
    except frames.Violation as error:
        return str(error.__cause__ or error)


def _theirs(decoder: hpack.Decoder, raw: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(raw, raw=True)]
    except HPACKError as error:
        return f"{type(error).__name__}: {error}"


def _agree(mine: Headers | str, theirs: list[tuple[bytes, bytes]] | str) -> bool:
    if isinstance(mine, str):
        # Five bytes are enough for any length that fits; the other one reads integers of any size.
        return isinstance(theirs, str) or mine == "an integer without an end"
    if isinstance(theirs, str):
        return False
    return mine.large or [(name.encode("latin-1"), value) for name, value in mine.pairs] == theirs


def _told(headers: Headers | str) -> object:
    """All that anybody asks of headers."""
    if isinstance(headers, str):
        return True  # which fault is told first is no promise
    try:
        metadata: object = headers.metadata()
    except ValueError:
        metadata = None
    looked_at = (headers.path, headers.timeout_s, headers.odd, headers.wrong, headers.large, headers.encoding)
    texts = [headers.text(name) for name in ("x", "grpc-timeout", ":path", "te", *(name for name, _ in headers.pairs))]
    return headers.pairs, headers.kinds, looked_at, headers.malformed(), texts, metadata


# ---- messages --------------------------------------------------------------------------------------------------------


def messages(given: bytes) -> None:
    """The first byte says how the rest is cut; what comes out is what a plain reading of the whole finds."""
    if not given:
        return
    step, rest = given[0] or 1 << 20, given[1:]
    inbox, fault = Inbox(MESSAGE_BYTES), False
    for at in range(0, len(rest), step):
        try:
            inbox.feed(rest[at : at + step])
        except Unreadable:
            fault = True
            break
    found = list(inbox.messages)
    wanted, wanted_fault = _plainly(rest)
    if fault != wanted_fault or found != wanted[: len(found)] or (not fault and len(found) != len(wanted)):
        raise Faulty(f"ours {found, fault}, plainly {wanted, wanted_fault}")
    if not fault and inbox.held_bytes > len(rest):
        raise Faulty(f"{inbox.held_bytes} bytes held of {len(rest)}")
    for is_compressed, raw in found:
        if is_compressed:
            _unfold(raw)


def _plainly(raw: bytes) -> tuple[list[tuple[bool, bytes]], bool]:
    found, at = [], 0
    while len(raw) - at >= 5:
        flag, size = struct.unpack_from(">BI", raw, at)
        if flag > 1 or size > MESSAGE_BYTES:
            return found, True
        if len(raw) - at - 5 < size:
            break
        found.append((flag == 1, raw[at + 5 : at + 5 + size]))
        at += 5 + size
    return found, False


def _unfold(raw: bytes) -> None:
    for packing, unpack in ((b"gzip", gzip.decompress), (b"deflate", zlib.decompress)):
        try:
            content = decompressed(raw, packing, MESSAGE_BYTES)
        except Unreadable:
            continue
        if len(content) > MESSAGE_BYTES or not unpack(compressed(content, packing)) == content:
            raise Faulty("a packed message that is not what it was")


# ---- where to begin --------------------------------------------------------------------------------------------------


def _sized(*blocks: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2, "big") + one for one in blocks)


def _conversations() -> list[bytes]:
    hello = PREFACE + settings(initial_window=100_000, max_frame=16_384) + frame(http2.SETTINGS, 1)
    head = block(asking(ONE))
    begun = frame(HEADERS, END_HEADERS, 1, head)
    encoder = hpack.Encoder()
    huffman = [encoder.encode(asking(LANE, x=str(n))) for n in range(3)]
    return [
        hello,
        hello + call(1, LANE, b"abc") + call(3, ONE, b"def"),
        hello + b"".join(
            frame(HEADERS, END_HEADERS, 2 * n + 1, raw) + frame(DATA, END_STREAM, 2 * n + 1, message(b"x"))
            for n, raw in enumerate(huffman)
        ),
        hello + begun + frame(DATA, 0, 1, message(b"x")) + frame(DATA, 9, 1, b"\2" + message(b"y") + bytes(2)),
        hello + begun + http2.window(1, 10) + http2.window(0, 10) + http2.reset(1) + frame(http2.PING, 0, 0, bytes(8)),
        hello + frame(HEADERS, 0, 1, head[:20]) + frame(http2.CONTINUATION, 4, 1, head[20:]),
        hello + call(1, ONE, gzip.compress(b"z" * 50), grpc_encoding="gzip", grpc_timeout="5S"),
        hello + call(1, ONE, b"x", content_type="text/plain") + frame(http2.GOAWAY, 0, 0, bytes(8)),
        hello + begun + frame(http2.PRIORITY, 0, 1, b"\0\0\0\0\1") + frame(HEADERS, 5, 1, block([("x", "y")])),
        settings(initial_window=0) + call(1, ONE),
    ]  # fmt: skip


def _blocks() -> list[bytes]:
    encoder = hpack.Encoder()
    several = [encoder.encode([*asking(ONE), ("n", str(n)), ("a-bin", "AAE"), ("same", "x" * 40)]) for n in range(5)]
    encoder.header_table_size = 100
    ends = [("m", ""), ("m", "1"), ("grpc-timeout", "1S"), ("te", "x"), (":path", ONE), ("e", "x" * 4000)]
    plain = [block([*asking(ONE), ("e", ""), ("n", str(n)), end]) for n, end in enumerate(ends)]
    return [
        _sized(*plain, *plain),
        _sized(b"\x20" + plain[0], *(b"\x20" + one for one in plain), b"\x40\x01a\x01b", *plain),
        _sized(*several, encoder.encode(asking(LANE))),
        _sized(block(asking(ONE, grpc_timeout="1S", te="trailers"))),
        _sized(b"\x3f\xe1\x1f\x82\x86\x84", b"\x20\x82\x86", b"\x40\x01a\x01b\xbe"),
        _sized(bytes(range(0x80, 0x100)), b"\x10\x01n\x85\xf2\xb2\x4a\x84\xff"),
    ]


def _messages() -> list[bytes]:
    plain, small = message(b"abc"), message(gzip.compress(b"q" * 99), 1)
    return [b"\0" + plain + small, b"\1" + plain * 3, b"\7" + message(b"") + b"\0\0\0\x10", b"\0" + message(b"x", 2)]


TARGETS: dict[str, tuple[Callable[[bytes], Any], Callable[[], list[bytes]]]] = {
    "connection": (connection, lambda: [b"\0" + bytes([n]) + raw for n, raw in enumerate(_conversations() * 4)]),
    "header-blocks": (header_blocks, _blocks),
    "messages": (messages, _messages),
}
WORDS = [
    PREFACE, *(frame(kind, flags, 1) for kind in range(10) for flags in (0, 1, 4, 5, 8)), settings(),
    b"grpc-status", b"grpc-timeout", b"content-type", b"application/grpc", b"grpc-encoding", b"gzip", b"te",
    b"trailers", b":path", b":method", b"POST", b"content-length", b"-bin", b"\x1f\x8b\x08", b"\xff\xff\xff\xff\x0f",
]  # fmt: skip
