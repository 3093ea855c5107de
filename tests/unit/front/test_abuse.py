"""What a hostile peer may try: each ends with the right error, for its stream or its connection, and nothing stays."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from gyrostat_front.limits import Limits
from support.front_peer import LANE, Peer, echoes
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    asking,
    block,
    call,
    frame,
    message,
    reset,
    settings,
    window,
)

FEW = replace(Limits(), resets=(20, 1), pings=(20, 1), settings=(20, 1), oddities=(20, 1), streams=10, continuations=4)


def opened(stream: int, **more: str) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block(asking(LANE, **more)))


FLOODS = {
    "rapid reset": [opened(n) + reset(n) for n in range(1, 81, 2)],
    "pings": [frame(PING, payload=bytes(8))] * 40,
    "settings": [frame(SETTINGS)] * 40,
    "answers to settings": [frame(SETTINGS, ACK)] * 40,
    "empty data": [opened(1), *[frame(DATA, 0, 1)] * 40],
    "priority": [frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")] * 40,
    "unknown frames": [frame(200, 0, 0, b"x")] * 40,
    "data on closed streams": [opened(1) + reset(1), *[frame(DATA, 0, 1, b"x")] * 40],
    "resets of closed streams": [opened(1), *[reset(1)] * 40],
    "streams that are refused": [opened(n) for n in range(1, 101, 2)],
    "continuations": [frame(HEADERS, 0, 1, b"\x83"), *[frame(CONTINUATION, 0, 1, b"\x86")] * 40],
    "a header block without an end": [
        frame(HEADERS, 0, 1, bytes(30_000)),
        *[frame(CONTINUATION, 0, 1, bytes(30_000))] * 3,
    ],
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_its_connection(flood: str):
    peer = Peer(FEW)
    for one in FLOODS[flood]:
        peer.send(one)
    peer.read()
    assert peer.goaway == ENHANCE_YOUR_CALM
    assert peer.wire.closed
    assert (peer.host.streams, peer.host.held_bytes, peer.connection.streams) == (0, 0, {})


@pytest.mark.parametrize("flood", ["rapid reset", "pings", "settings", "empty data"])
def test_the_same_at_leisure_is_no_flood(flood: str):
    peer = Peer(FEW)
    for one in FLOODS[flood]:
        peer.loop.now += 1.1
        peer.send(one)
    peer.read()
    assert peer.goaway is None


def test_pings_beside_calls_are_no_flood():
    peer = Peer(FEW)
    peer.host.lanes[LANE.encode()] = echoes
    for n in range(1, 201, 2):
        peer.send(call(n, LANE), frame(PING, payload=bytes(8)))
    peer.read()
    assert peer.goaway is None


def test_pings_beside_a_stream_of_replies_are_no_flood():
    peer = Peer(FEW)
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.General/Call"))))
    for _ in range(100):
        peer.general[0].put(b"one of many")
        peer.send(frame(PING, payload=bytes(8)))
    peer.read()
    assert peer.goaway is None


@pytest.mark.parametrize(("timeout", "after_s"), [("1S", 0.06), ("5m", 0.006)])
def test_calls_that_were_waited_for_are_taken_back_without_a_limit(timeout: str, after_s: float):
    peer = Peer(FEW)
    for n in range(1, 201, 2):
        peer.send(call(n, LANE, grpc_timeout=timeout))
        peer.loop.now += after_s
        peer.send(reset(n))
    peer.read()
    assert peer.goaway is None


def test_a_reset_that_meets_the_answer_on_its_way_is_no_fault():
    peer = Peer(FEW)
    peer.host.lanes[LANE.encode()] = echoes
    for n in range(1, 201, 2):
        peer.send(call(n, LANE), reset(n))
    peer.read()
    assert peer.goaway is None


def test_more_streams_than_allowed_are_refused_and_may_come_again():
    peer = Peer(FEW)
    peer.send(*(opened(n) for n in range(1, 23, 2)))
    assert (peer.answer(19).reset, peer.answer(21).reset) == (None, REFUSED_STREAM)
    peer.send(reset(1), call(23, LANE))
    assert len(peer.calls) == 1


def test_streams_of_all_connections_are_limited_too():
    peer = Peer(replace(Limits(), all_streams=2))
    peer.send(opened(1), opened(3), opened(5))
    assert (peer.answer(3).reset, peer.answer(5).reset) == (None, REFUSED_STREAM)


def test_metadata_that_are_too_large_fail_their_call_alone():
    peer = Peer()
    peer.send(opened(1, x_large="x" * 20_000), call(3, LANE, b"fine"))
    assert (peer.answer(1).status, peer.goaway) == (8, None)
    assert [given.message for given in peer.calls] == [b"fine"]


def test_a_message_that_says_it_is_too_large_fails_before_it_comes():
    peer = Peer(replace(Limits(), message_bytes=1000))
    peer.send(opened(1), frame(DATA, 0, 1, b"\0\0\0\x10\0"))
    assert (peer.answer(1).status, peer.answer(1).reset) == (8, 0)
    peer.send(frame(DATA, 0, 1, bytes(1000)), frame(DATA, END_STREAM, 1))
    peer.read()
    assert peer.goaway is None


def test_a_bomb_of_gzip_fails_when_it_is_opened():
    peer = Peer(replace(Limits(), message_bytes=1000))
    raw = message(gzip.compress(bytes(100_000)), 1)
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.General/Call", grpc_encoding="gzip"))))
    peer.send(frame(DATA, END_STREAM, 1, raw))
    with pytest.raises(Exception, match="larger than max"):
        peer.general[0].receive().send(None)


def test_messages_that_never_become_whole_have_an_end():
    peer = Peer(replace(Limits(), held_bytes=100_000))
    for n in range(1, 9, 2):
        peer.send(opened(n), frame(DATA, 0, n, message(bytes(1_000_000))[:30_000]))
    assert [peer.answer(n).status for n in range(1, 9, 2)] == [None, None, None, 8]
    assert peer.host.held_bytes <= 100_000


def test_who_holds_most_goes_when_messages_of_all_take_too_much_room():
    honest = Peer(replace(Limits(), all_held_bytes=100_000))
    hog = Peer(honest.limits, beside=honest)
    honest.send(opened(1), frame(DATA, 0, 1, message(bytes(20_000))[:10_000]))
    for n in range(1, 9, 2):
        hog.send(opened(n), frame(DATA, 0, n, message(bytes(1_000_000))[:30_000]))
    hog.read()
    assert (hog.goaway, honest.goaway, honest.host.held_bytes) == (ENHANCE_YOUR_CALM, None, 10_000)
    honest.send(frame(DATA, END_STREAM, 1, message(bytes(20_000))[10_000:]))
    assert [len(given.message) for given in honest.calls] == [20_000]


def test_who_takes_least_goes_when_replies_to_all_take_too_much_room():
    honest = Peer(replace(Limits(), all_unsent_bytes=100_000), first=settings(initial_window=10))
    hog = Peer(honest.limits, first=settings(initial_window=0), beside=honest)
    for peer, stream, size in [(honest, 1, 20_000), (hog, 1, 60_000), (hog, 3, 60_000)]:
        peer.send(call(stream, LANE))
        honest.calls[-1].reply(bytes(size))
    hog.loop.turn()
    hog.read()
    assert (hog.goaway, honest.goaway) == (ENHANCE_YOUR_CALM, None)
    honest.send(window(1, 100_000))
    assert (honest.answer(1).status, honest.host.unsent_bytes) == (0, 0)


def test_a_connection_that_takes_no_replies_has_an_end_by_itself():
    peer = Peer(replace(Limits(), unsent_bytes=10_000, message_bytes=20_000), first=settings(initial_window=0))
    peer.send(*(call(n, LANE) for n in (1, 3, 5)))
    for given in peer.calls:
        given.reply(bytes(15_000))
    peer.loop.turn()
    peer.read()
    assert (peer.goaway, peer.host.unsent_bytes) == (ENHANCE_YOUR_CALM, 0)


def test_a_newcomer_has_its_share_of_streams():
    first = Peer(replace(Limits(), all_streams=4))
    second = Peer(first.limits, beside=first)
    first.send(*(opened(n) for n in range(1, 11, 2)))
    second.send(opened(1), opened(3), opened(5))
    assert [first.answer(n).reset for n in (7, 9)] == [None, REFUSED_STREAM]
    assert [second.answer(n).reset for n in (1, 3, 5)] == [None, None, REFUSED_STREAM]


VIOLATIONS = {
    "not HTTP/2": (b"GET / HTTP/1.1\r\n\r\n", PROTOCOL_ERROR),
    "an even stream": (frame(HEADERS, END_HEADERS, 2, block(asking(LANE))), PROTOCOL_ERROR),
    "an old stream": (opened(5) + opened(3), PROTOCOL_ERROR),
    "a closed stream": (opened(1) + reset(1) + opened(1), STREAM_CLOSED),
    "another frame within a block": (frame(HEADERS, 0, 1, b"\x83") + frame(PING, payload=bytes(8)), PROTOCOL_ERROR),
    "data before headers": (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    "a window of nothing": (window(0, 0), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("what", VIOLATIONS)
def test_what_breaks_the_protocol_ends_the_connection_with_its_code(what: str):
    raw, code = VIOLATIONS[what]
    peer = Peer(first=b"") if what == "not HTTP/2" else Peer()
    peer.send(raw)
    peer.read()
    assert (peer.goaway, peer.wire.closed) == (code, True)


def test_behind_its_end_a_connection_hears_nothing():
    peer = Peer()
    peer.send(window(0, 0), call(1, LANE))
    peer.send(call(3, LANE))
    assert peer.calls == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (opened(1) + opened(1), PROTOCOL_ERROR),
        (call(1, LANE) + frame(DATA, END_STREAM, 1), STREAM_CLOSED),
        (frame(HEADERS, END_HEADERS, 1, block([*asking(LANE), ("connection", "x")])), PROTOCOL_ERROR),
        (opened(1, content_length="3") + frame(DATA, END_STREAM, 1, message(b"")), PROTOCOL_ERROR),
        (opened(1) + window(1, 0), PROTOCOL_ERROR),
    ],
    ids=["headers twice", "data behind the end", "a field of HTTP/1", "not the content-length", "a window of nothing"],
)
def test_what_breaks_a_stream_ends_it_alone(raw: bytes, code: int):
    peer = Peer()
    peer.send(raw, call(99, LANE, b"other"))
    assert (peer.answer(1).reset, peer.goaway) == (code, None)
    assert peer.calls[-1].message == b"other"
