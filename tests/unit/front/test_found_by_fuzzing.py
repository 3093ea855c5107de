"""What `make fuzz` and `make interop` found in the front, kept."""

from __future__ import annotations

import asyncio

import pytest

from support.front_peer import LANE, Peer
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, asking, block, call, frame, message, reset, settings


@pytest.mark.parametrize("flags", [0, END_STREAM])
def test_a_message_that_is_refused_is_not_taken_off_the_books_twice(flags: int) -> None:
    """Else the sum of what is held sinks below nothing, and the limit on it never comes."""
    peer = Peer()
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), frame(DATA, flags, 1, message(b"x", 7)))
    assert (peer.host.held_bytes, peer.connection.held_bytes, peer.host.streams) == (0, 0, 0)


def test_a_method_that_reads_on_behind_the_end_of_its_call_takes_nothing_off_the_books() -> None:
    peer = Peer()
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.Other/Call"))), frame(DATA, 0, 1, message(b"x") * 3))
    [asked] = peer.general
    peer.send(reset(1))
    with pytest.raises(asyncio.CancelledError):
        asked.receive().send(None)
    assert (peer.host.held_bytes, peer.connection.held_bytes) == (0, 0)


def test_who_writes_behind_the_end_of_its_call_writes_nothing() -> None:
    peer = Peer(first=settings(initial_window=0))
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking("/test.Other/Call"))), reset(1))
    [asked] = peer.general
    peer.read()
    asked.head()
    asked.put(b"to nobody")
    peer.loop.turn()
    assert (peer.read(), peer.host.unsent_bytes) == ([], 0)


def test_an_answer_whose_peer_goes_in_the_same_turn_hurts_nobody() -> None:
    """A transport that has closed raises when it is written to: in the middle of what others were to get."""
    peer = Peer()
    peer.connection.data_received(call(1, "/test.Other/Call", b"x"))
    peer.general[0].reply(b"y")
    peer.wire.abort()
    peer.connection.connection_lost(None)
    peer.loop.turn()
    assert peer.connection.sender.out == []
