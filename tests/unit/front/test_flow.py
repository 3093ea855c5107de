"""Windows: we never send more than we may, and let the peer send as long as somebody reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as fewer
from hypothesis import strategies as st

from gyrostat_front.limits import Limits
from support.front_peer import LANE, Peer
from support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    REFUSED_STREAM,
    WINDOW_UPDATE,
    asking,
    block,
    call,
    frame,
    message,
    settings,
    window,
)


def a_peer(first_window: int = 65_535, **limits: int) -> Peer:
    return Peer(replace(Limits(), **limits), first=settings(initial_window=first_window))


def replied(peer: Peer, stream: int, size: int) -> bytes:
    """A call on the lane, answered with so many bytes; the message as it goes over the wire."""
    peer.send(call(stream, LANE))
    content = bytes(n % 251 for n in range(size))
    peer.calls[-1].reply(content)
    peer.loop.turn()
    return message(content)


def test_a_reply_larger_than_the_streams_window_waits_for_it():
    peer = a_peer(first_window=100)
    raw = replied(peer, 1, 300)
    assert peer.answer(1).content == raw[:100]
    peer.send(window(1, 50))
    assert peer.answer(1).content == raw[:150]
    assert peer.answer(1).status is None
    peer.send(window(1, 1000))
    assert (peer.answer(1).content, peer.answer(1).status) == (raw, 0)
    assert peer.host.unsent_bytes == 0


def test_the_connections_window_is_shared_in_turn():
    peer = a_peer(first_window=1_000_000)
    one, two = replied(peer, 1, 60_000), replied(peer, 3, 60_000)
    assert (peer.answer(1).content, len(peer.answer(3).content)) == (one, 65_535 - len(one))
    peer.send(window(0, 1_000_000))
    assert (peer.answer(3).content, peer.answer(3).status) == (two, 0)


def test_a_smaller_first_window_makes_windows_negative_and_a_larger_opens_them():
    peer = a_peer(first_window=100)
    raw = replied(peer, 1, 300)
    peer.send(settings(initial_window=10), window(1, 60))
    assert len(peer.answer(1).content) == 100
    peer.send(settings(initial_window=1000))
    assert peer.answer(1).content == raw


def test_a_stream_with_a_window_is_not_held_up_by_one_without():
    peer = a_peer(first_window=100)
    replied(peer, 1, 5000)
    raw = replied(peer, 3, 20)
    assert (peer.answer(3).content, peer.answer(3).status) == (raw, 0)


@fewer(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 3, 5]), st.integers(1, 40_000)), max_size=30))
def test_no_grant_in_any_order_lets_out_more_than_it_allows(grants: list[tuple[int, int]]):
    peer = a_peer(first_window=1000)
    wanted = {stream: replied(peer, stream, 60_000) for stream in (1, 3, 5)}
    allowed = {0: 65_535, 1: 1000, 3: 1000, 5: 1000}
    for stream, more in [*grants, (0, 1_000_000), (1, 100_000), (3, 100_000), (5, 100_000)]:
        allowed[stream] += more
        peer.send(window(stream, more))
        sent = {stream: len(peer.answer(stream).content) for stream in wanted}
        assert sum(sent.values()) <= allowed[0]
        assert all(sent[stream] <= allowed[stream] for stream in sent)
    assert {stream: peer.answer(stream).content for stream in wanted} == wanted
    assert (peer.connection.streams, peer.host.unsent_bytes) == ({}, 0)


def test_a_window_beyond_its_largest_ends_stream_or_connection():
    peer = a_peer()
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), window(1, 2**31 - 1))
    assert peer.answer(1).reset == FLOW_CONTROL_ERROR
    assert peer.goaway is None
    peer.send(window(0, 2**31 - 1))
    peer.read()
    assert peer.goaway == FLOW_CONTROL_ERROR


def test_windows_are_given_back_as_messages_come_and_are_read():
    peer = a_peer(stream_window_bytes=1000, connection_window_bytes=100_000)
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.General/Call"))))
    peer.read()
    peer.send(frame(DATA, 0, 1, message(bytes(600))))
    assert [got for got in peer.read() if got.kind == WINDOW_UPDATE] == []
    with pytest.raises(StopIteration):
        peer.general[0].receive().send(None)
    peer.loop.turn()
    (granted,) = [got for got in peer.read() if got.kind == WINDOW_UPDATE]
    assert (granted.stream, int.from_bytes(granted.payload, "big")) == (1, 605)


def test_a_message_larger_than_the_window_is_let_in():
    peer = a_peer(stream_window_bytes=1000)
    raw, sent, allowed = message(bytes(5000)), 0, 1000
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))))
    while sent < len(raw):
        size = min(allowed - sent, 400, len(raw) - sent)
        assert size > 0
        peer.send(frame(DATA, END_STREAM if sent + size == len(raw) else 0, 1, raw[sent : sent + size]))
        sent += size
        allowed += sum(int.from_bytes(got.payload, "big") for got in peer.read() if got.kind == WINDOW_UPDATE)
    assert [len(given.message) for given in peer.calls] == [5000]


def test_more_than_the_window_ends_the_stream():
    peer = a_peer(stream_window_bytes=1000)
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.General/Call"))))
    peer.send(frame(DATA, 0, 1, message(bytes(900))), frame(DATA, 0, 1, message(bytes(200))))
    assert peer.answer(1).reset == FLOW_CONTROL_ERROR


def test_the_connections_window_is_given_back_whatever_becomes_of_the_stream():
    peer = a_peer(connection_window_bytes=100_000)
    allowed = 100_000
    for n in range(1, 41, 2):
        raw = call(n, "/test.General/Call", bytes(9000))
        allowed -= 9005
        assert allowed > 0
        peer.send(raw)
        granted = [got for got in peer.read() if got.kind == WINDOW_UPDATE and got.stream == 0]
        allowed += sum(int.from_bytes(got.payload, "big") for got in granted)


def test_a_peer_that_does_not_read_is_not_read_and_its_answers_wait():
    peer = a_peer(first_window=10_000_000)
    peer.send(window(0, 10_000_000))
    peer.wire.most = 100_000
    raw = replied(peer, 1, 1_000_000)
    assert not peer.wire.reading
    early = len(peer.answer(1).content)
    assert early < 600_000
    while peer.answer(1).status is None:
        peer.wire.take()
        peer.loop.turn()
    peer.wire.take()
    assert peer.wire.reading
    assert peer.answer(1).content == raw


def test_with_too_much_unsent_new_calls_are_refused_and_old_ones_answered():
    peer = a_peer(first_window=0, unsent_bytes=10_000)
    raw = replied(peer, 1, 20_000)
    peer.send(call(3, LANE))
    assert peer.answer(3).reset == REFUSED_STREAM
    peer.send(window(1, 100_000))
    assert peer.answer(1).content == raw
    assert replied(peer, 5, 0) is not None
    assert len(peer.calls) == 2
