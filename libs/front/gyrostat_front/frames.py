"""The frames of HTTP/2 (RFC 9113): their numbers, and the bytes of those that we send. No state."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, MOST_STREAMS, WINDOW, FRAME_SIZE, LIST_SIZE = 1, 2, 3, 4, 5, 6
FIRST_WINDOW, LARGEST_WINDOW = 65_535, 2**31 - 1
SMALLEST_FRAME, LARGEST_FRAME = 16_384, 2**24 - 1

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)

read_head = struct.Struct(">BHBBI").unpack_from
"""High byte of the length, its two low bytes, type, flags, stream with the reserved bit."""
read_uint32 = struct.Struct(">I").unpack_from
uint32 = struct.Struct(">I").pack
_SETTING = struct.Struct(">HI")


class Violation(Exception):
    """The peer broke the protocol in a way that ends the connection. `code` is HTTP/2's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Broken(Exception):
    """The peer broke the protocol in a way that ends one stream. `code` is HTTP/2's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame as it goes over the wire."""
    return b"".join((uint32(len(payload) << 8 | kind), bytes((flags,)), uint32(stream), payload))


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame, in their order. Raises Violation for a wrong length or value."""
    if len(payload) % _SETTING.size:
        raise Violation(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    found = list(_SETTING.iter_unpack(payload))
    for key, value in found:
        if key == ENABLE_PUSH and value > 1:
            raise Violation(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if key == WINDOW and value > LARGEST_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if key == FRAME_SIZE and not SMALLEST_FRAME <= value <= LARGEST_FRAME:
            raise Violation(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
    return found


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, uint32(code))


def goaway(last: int, code: int, text: str = "") -> bytes:
    """A GOAWAY frame: streams up to `last` are still answered."""
    return frame(GOAWAY, 0, 0, uint32(last) + uint32(code) + text.encode()[:200])


def grant(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame: `more` bytes may come."""
    return frame(WINDOW_UPDATE, 0, stream, uint32(more))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding. Raises Violation when there is more of it than
    payload."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
