"""What a peer must do in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gyrostat_front.limits import Limits
from support.front_peer import LANE, Peer
from support.http2 import (
    ACK,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    asking,
    block,
    call,
    frame,
    settings,
)

SETTINGS_TIMEOUT = 4


@pytest.mark.parametrize("said", [b"", PREFACE[:5], PREFACE, PREFACE + settings()[:4]])
def test_a_handshake_has_an_end(said: bytes):
    peer = Peer(replace(Limits(), handshake_s=10), first=b"")
    peer.send(said)
    peer.passes(9)
    assert not peer.wire.closed
    peer.passes(2)
    peer.read()
    assert (peer.wire.closed, peer.goaway) == (True, SETTINGS_TIMEOUT)


@pytest.mark.parametrize("begun", [b"\0\0", frame(HEADERS, 0, 1, b"\x83"), call(1, LANE)[:-1]])
def test_a_frame_that_has_begun_has_an_end(begun: bytes):
    peer = Peer(replace(Limits(), frame_s=30))
    peer.send(begun)
    peer.passes(29)
    assert not peer.wire.closed
    peer.passes(2)
    peer.read()
    assert (peer.wire.closed, peer.goaway) == (True, ENHANCE_YOUR_CALM)


def pings(peer: Peer) -> list[bytes]:
    return [got.payload for got in peer.read() if got.kind == PING]


def test_silence_is_asked_and_an_answer_is_enough():
    peer = Peer(replace(Limits(), keepalive_s=60, keepalive_answer_s=20))
    peer.passes(61)
    (word,) = pings(peer)
    peer.send(frame(PING, ACK, payload=word))
    peer.passes(21)
    assert not peer.wire.aborted


def test_who_does_not_answer_is_not_there():
    peer = Peer(replace(Limits(), keepalive_s=60, keepalive_answer_s=20))
    peer.send(call(1, LANE))
    peer.passes(61)
    peer.passes(21)
    assert peer.wire.aborted


def test_a_connection_without_calls_is_closed_after_a_while():
    peer = Peer(replace(Limits(), idle_s=100, keepalive_s=1000))
    peer.send(call(1, LANE))
    peer.passes(101)
    assert not peer.wire.closed
    peer.calls[0].reply(b"")
    peer.passes(99)
    assert not peer.wire.closed
    peer.passes(2)
    peer.read()
    assert (peer.wire.closed, peer.goaway) == (True, 0)


def test_an_old_connection_is_asked_to_go_and_its_calls_are_answered():
    peer = Peer(replace(Limits(), age_s=100, keepalive_s=1000, answer_s=1000))
    peer.send(call(1, LANE))
    peer.passes(89)
    assert not [got for got in peer.read() if got.kind == GOAWAY]
    peer.passes(22)
    first, word = [got for got in peer.read() if got.kind in (GOAWAY, PING)]
    assert int.from_bytes(first.payload[:4], "big") == 2**31 - 1
    peer.send(call(3, LANE), frame(PING, ACK, payload=word.payload))
    (last,) = [got for got in peer.read() if got.kind == GOAWAY]
    assert int.from_bytes(last.payload[:4], "big") == 3
    peer.send(call(5, LANE))
    assert len(peer.calls) == 2
    for given in peer.calls:
        given.reply(b"")
    peer.loop.turn()
    assert (peer.answer(1).status, peer.answer(3).status, peer.answers.get(5)) == (0, 0, None)
    peer.loop.turn()
    assert peer.wire.closed


def test_calls_of_an_old_connection_have_an_end():
    peer = Peer(replace(Limits(), age_s=100, age_grace_s=60, keepalive_s=1000))
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.General/Watch"))))
    peer.passes(111)
    peer.passes(2)
    assert not peer.wire.closed
    peer.passes(60)
    assert peer.wire.closed
    assert peer.general[0].gone


def test_replies_that_nobody_takes_have_an_end():
    peer = Peer(replace(Limits(), stalled_s=100, keepalive_s=1000))
    peer.send(settings(initial_window=0), call(1, LANE))
    peer.calls[0].reply(bytes(1000))
    peer.passes(1)
    peer.passes(98)
    assert not peer.wire.closed
    peer.passes(3)
    assert peer.wire.closed
    assert peer.host.unsent_bytes == 0


def test_what_does_not_close_is_cut():
    peer = Peer()
    peer.send(bytes(9) + frame(PING, payload=b"x"))
    assert (peer.wire.closed, peer.wire.aborted) == (True, False)
    peer.passes(6)
    assert peer.wire.aborted


def test_what_only_makes_things_faster_is_given_back_in_quiet():
    peer = Peer()
    raw = block(asking(LANE))
    for n in range(1, 9, 2):
        peer.send(frame(HEADERS, END_HEADERS, n, raw), frame(0, 1, n, bytes(5)))
        peer.calls[-1].reply(b"")
    assert raw in peer.connection._decoder.memo
    peer.passes(10)
    assert peer.connection._decoder.memo == {}
    peer.send(call(9, LANE))
    assert len(peer.calls) == 5
