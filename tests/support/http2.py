"""HTTP/2 by hand, for what no client library would send: frames, header blocks, and a connection that reads answers."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
HEADER_TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = 1, 3, 4, 5, 6
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 2, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame, of whatever length."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame: names as above in small letters."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", globals()[n.upper()], v) for n, v in values.items()))


def window(stream: int, by: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def reset(stream: int, code: int = CANCEL) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def block(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    """A header block of literals that leave the table as it is."""
    return b"".join(
        _literal(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in fields
    )


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    return integer(len(text), 7) + text


def integer(number: int, bits: int, first: int = 0) -> bytes:
    """HPACK's number with a prefix of so many bits; `first` holds the bits above it."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    out = bytearray([first | most])
    number -= most
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def asking(path: str, **more: str) -> list[tuple[str, str]]:
    """The headers of a gRPC call; `more` with _ for - adds or replaces, an empty text removes."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    } | {name.replace("_", "-"): text for name, text in more.items()}
    return [(name, text) for name, text in fields.items() if text]


def message(content: bytes, compressed: int = 0) -> bytes:
    """A gRPC message with its five bytes before it."""
    return struct.pack(">BI", compressed, len(content)) + content


def call(stream: int, path: str, content: bytes = b"", **more: str) -> bytes:
    """A whole unary call: HEADERS and one DATA frame."""
    head = frame(HEADERS, END_HEADERS, stream, block(asking(path, **more)))
    return head + frame(DATA, END_STREAM, stream, message(content))


@dataclass
class Answer:
    """What came back on one stream. Headers and trailers are one mapping: their names differ."""

    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    reset: int | None = None
    """The code of an RST_STREAM."""

    @property
    def status(self) -> int | None:
        """The gRPC status; None when there was none."""
        return int(self.fields["grpc-status"]) if "grpc-status" in self.fields else None


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Closed(Exception):
    """The server closed the connection; `goaway` is the code it gave, None without a GOAWAY."""

    def __init__(self, goaway: int | None) -> None:
        super().__init__(f"closed, GOAWAY {goaway}")
        self.goaway = goaway


class Connection:
    """A client's end. Answers SETTINGS and PING unless `mute`; opens windows only as told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: bool = False) -> None:
        self.reader, self.writer, self._mute = reader, writer, mute
        self._decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.answers: dict[int, Answer] = {}
        self.settings: dict[int, int] = {}
        self.goaway: int | None = None

    def send(self, *frames: bytes) -> None:
        """Hands bytes to the kernel without waiting."""
        self.writer.write(b"".join(frames))

    async def frame(self) -> Frame:
        """The next frame, noted in `answers`, `settings` and `goaway`. Raises Closed at the end."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            raise Closed(self.goaway) from None
        got = Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)
        self._note(got)
        return got

    def _note(self, got: Frame) -> None:
        answer = self.answers.setdefault(got.stream, Answer())
        match got.kind:
            case 0:
                answer.content += got.payload
            case 1:
                answer.fields |= {str(name): str(text) for name, text in self._decoder.decode(got.payload)}
            case 3:
                answer.reset = int.from_bytes(got.payload, "big")
            case 4 if not got.flags & ACK:
                self.settings |= dict(struct.iter_unpack(">HI", got.payload))
                if not self._mute:
                    self.send(frame(SETTINGS, ACK))
            case 6 if not got.flags & ACK and not self._mute:
                self.send(frame(PING, ACK, payload=got.payload))
            case 7:
                self.goaway = int.from_bytes(got.payload[4:8], "big")

    async def answer(self, stream: int) -> Answer:
        """All that comes on a stream until it ends; the connection's windows are kept open for it."""
        while True:
            got = await self.frame()
            if got.kind == DATA and got.payload:
                self.send(window(0, len(got.payload)), window(stream, len(got.payload)))
            if got.stream == stream and (got.kind == RST_STREAM or (got.kind in (DATA, HEADERS) and got.flags & 1)):
                return self.answers[stream]

    async def until(self, kind: int, flags: int = 0) -> Frame:
        """The next frame of this kind with these flags."""
        while (got := await self.frame()).kind != kind or got.flags & flags != flags:
            pass
        return got

    async def closed(self) -> int | None:
        """Reads to the end; the code of the GOAWAY, None without one."""
        with suppress(Closed):
            while True:
                await self.frame()
        return self.goaway

    async def close(self) -> None:
        """Without a word."""
        self.writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


async def connect(port: int, *first: bytes, tls: ssl.SSLContext | None = None, mute: bool = False) -> Connection:
    """A connection on which the preface and `first` (else empty SETTINGS) are sent."""
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    connection = Connection(reader, writer, mute)
    connection.send(PREFACE, *(first or (settings(),)))
    return connection
