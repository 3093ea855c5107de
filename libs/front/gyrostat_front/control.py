"""Frames that are about the connection: settings, pings, windows, resets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gyrostat_front.frames import (
    ACK,
    CONTINUATION,
    FRAME_SIZE,
    FRAME_SIZE_ERROR,
    GOAWAY,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW,
    WINDOW_UPDATE,
    Broken,
    Violation,
    frame,
    read_uint32,
    reset,
    settings_in,
)
from gyrostat_front.session import LAST_WORD, STILL_THERE

if TYPE_CHECKING:
    from gyrostat_front.connection import Connection

LARGEST_OF_OURS = 262_144
RAPID_S = 0.05
"""A call that is taken back later was waited for: so many at once as streams are allowed are no flood."""
_MASK = 0x7FFFFFFF


def handle(connection: Connection, kind: int, flags: int, stream: int, payload: bytes) -> None:
    """Does what the frame asks. Raises Violation. Unknown frames mean nothing."""
    known = _KINDS.get(kind)
    if known is None:
        if kind in (PUSH_PROMISE, CONTINUATION):
            raise Violation(PROTOCOL_ERROR, "a frame that has no place here")
        connection.odd(connection.oddities)
        return
    known(connection, flags, stream, payload)


def _settings(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise Violation(PROTOCOL_ERROR, "SETTINGS on a stream")
    connection.odd(connection.changes)
    if flags & ACK:
        if payload:
            raise Violation(FRAME_SIZE_ERROR, "an answer to SETTINGS that says more")
        return
    changes = settings_in(payload)
    connection.sender.write(SETTINGS_ACK)  # before what the new windows let out
    for key, value in changes:
        if key == WINDOW:
            connection.sender.first_window_is(value, connection.streams)
        elif key == FRAME_SIZE:
            connection.sender.frame_bytes = min(value, LARGEST_OF_OURS)
    connection.agreed = True


def _ping(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise Violation(PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != 8:
        raise Violation(FRAME_SIZE_ERROR, "PING of a wrong length")
    if flags & ACK:
        if payload == LAST_WORD and connection.draining:
            connection.settle()
        elif payload == STILL_THERE:
            connection.asked_at = None
        else:
            connection.odd(connection.oddities)
        return
    said = connection.answered + connection.sender.moved
    if said != connection.said_at_ping:  # clients measure the way by pings beside what comes to them
        connection.said_at_ping = said
        connection.pings.fill()
    connection.odd(connection.pings)
    connection.sender.write(frame(PING, ACK, 0, payload))


def _window_update(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise Violation(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
    more = read_uint32(payload)[0] & _MASK
    if not stream:
        if not more:
            raise Violation(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        connection.sender.granted(more)
        return
    if stream > connection.last:
        raise Violation(PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
    call = connection.streams.get(stream)
    if call is None:
        return
    if not more:
        connection.broken(call, Broken(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing"))
        return
    try:
        connection.sender.stream_granted(call, more)
    except Broken as error:
        connection.broken(call, error)


def _rst_stream(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if not stream or stream > connection.last:
        raise Violation(PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
    if len(payload) != 4:
        raise Violation(FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
    call = connection.streams.get(stream)
    if call is None:
        if stream in connection.left:  # it ended here before the peer's last word, and this is that
            del connection.left[stream]
            return
        connection.late_resets += 1
        if connection.late_resets > connection.answered:  # each answer may meet one on its way
            connection.odd(connection.oddities)
        return
    if connection.heard - call.since < RAPID_S and not call.gone:
        connection.odd(connection.resets)
    call.ended = True
    call.vanish()


def _priority(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if not stream:
        raise Violation(PROTOCOL_ERROR, "PRIORITY on stream 0")
    connection.odd(connection.oddities)
    if len(payload) != 5:
        _end(connection, stream, FRAME_SIZE_ERROR)
    elif read_uint32(payload)[0] & _MASK == stream:
        _end(connection, stream, PROTOCOL_ERROR)


def _end(connection: Connection, stream: int, code: int) -> None:
    call = connection.streams.get(stream)
    if call is None:
        connection.sender.write(reset(stream, code))
    else:
        connection.broken(call, Broken(code, "PRIORITY that is none"))


def _goaway(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise Violation(PROTOCOL_ERROR, "GOAWAY on a stream")
    connection.odd(connection.oddities)


_KINDS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    SETTINGS: _settings,
    PING: _ping,
    WINDOW_UPDATE: _window_update,
    RST_STREAM: _rst_stream,
    PRIORITY: _priority,
    GOAWAY: _goaway,
}
