"""Messages of gRPC in the bytes of a stream: five bytes of head, then the message, compressed or not."""

from __future__ import annotations

import struct
import zlib
from collections import deque

HEAD_BYTES = 5
read_message = struct.Struct(">BI").unpack_from
message_head = struct.Struct(">BI").pack
PACKINGS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
"""Names of grpc-encoding, and what zlib calls the format."""
Received = tuple[bool, bytes]
"""Whether it is compressed; the message."""


class Unreadable(Exception):
    """A message that cannot be taken. `code` is gRPC's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Inbox:
    """The messages of one stream, as they arrive."""

    __slots__ = ("_buffer", "_most_bytes", "messages", "unread_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self.messages: deque[Received] = deque()
        self.unread_bytes = 0
        """Of whole messages that nobody has taken."""

    @property
    def cut(self) -> bool:
        """There is a part of a message."""
        return bool(self._buffer)

    @property
    def held_bytes(self) -> int:
        """All that is kept."""
        return len(self._buffer) + self.unread_bytes

    def feed(self, payload: bytes) -> None:
        """Takes what came. Raises Unreadable when a message says that it is too large, or has an unknown flag."""
        buffer, at = self._buffer, 0
        buffer += payload
        while len(buffer) - at >= HEAD_BYTES:
            compressed, size = read_message(buffer, at)
            if compressed > 1:
                raise Unreadable(13, f"a message with the flag {compressed}")
            if size > self._most_bytes:
                raise too_large(size, self._most_bytes)
            end = at + HEAD_BYTES + size
            if end > len(buffer):
                break
            self.messages.append((bool(compressed), bytes(memoryview(buffer)[at + HEAD_BYTES : end])))
            self.unread_bytes += size
            at = end
        if at:
            del buffer[:at]

    def put(self, message: bytes) -> None:
        """A message that came whole."""
        self.messages.append((False, message))
        self.unread_bytes += len(message)

    def clear(self) -> None:
        """Nobody takes any of it."""
        self._buffer, self.unread_bytes = bytearray(), 0
        self.messages.clear()

    def take(self) -> Received:
        """The oldest message."""
        found = self.messages.popleft()
        self.unread_bytes -= len(found[1])
        return found


def held_too_much() -> Unreadable:
    """A connection has more here than it may."""
    return Unreadable(8, "too many bytes of messages wait here")


def too_large(size: int, most: int) -> Unreadable:
    """In the words of grpcio."""
    return Unreadable(8, f"Received message larger than max ({size} vs. {most})")


def decompressed(raw: bytes, packing: bytes, most_bytes: int) -> bytes:
    """A packed message. Raises Unreadable when it is none, or becomes too large."""
    reader, name = zlib.decompressobj(PACKINGS[packing]), packing.decode()
    try:
        message = reader.decompress(raw, most_bytes + 1)
    except zlib.error as error:
        raise Unreadable(13, f"a message that is not {name}") from error
    if len(message) > most_bytes:
        raise too_large(len(message), most_bytes)
    if not reader.eof:
        raise Unreadable(13, f"a {name} message that is cut short")
    return message


def compressed(message: bytes, packing: bytes) -> bytes:
    """The message packed so."""
    maker = zlib.compressobj(wbits=PACKINGS[packing], level=6)
    return maker.compress(message) + maker.flush()
