"""The bytes of requests that lie with a lane count until their calls are over; those of small ones do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gyrostat_front.call import SMALL_BYTES, Call
from gyrostat_front.limits import Limits
from support.front_peer import LANE, Peer
from support.http2 import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    asking,
    block,
    call,
    frame,
    reset,
)
from support.http2 import message as framed

LARGE = bytes(20_000)


def parts(stream: int, size: int = 300) -> list[bytes]:
    raw = framed(LARGE)
    head = frame(HEADERS, END_HEADERS, stream, block(asking(LANE)))
    return [
        head,
        *(
            frame(DATA, END_STREAM if at + size >= len(raw) else 0, stream, raw[at : at + size])
            for at in range(0, len(raw), size)
        ),
    ]


@pytest.mark.parametrize("sent", [[call(1, LANE, LARGE)], parts(1)], ids=["whole", "in parts"])
@pytest.mark.parametrize("end", ["replied", "failed", "taken back", "late"])
def test_a_large_request_counts_until_its_call_is_over(sent: list[bytes], end: str):
    peer = Peer()
    peer.send(*sent)
    (given,) = peer.calls
    assert (given.message, peer.host.held_bytes, peer.connection.held_bytes) == (LARGE, len(LARGE), len(LARGE))
    if end == "replied":
        given.reply(b"")
    elif end == "failed":
        given.fail(3, "no")
    elif end == "taken back":
        peer.send(reset(1, CANCEL))
    else:
        given.expire()
    assert (peer.host.held_bytes, peer.connection.held_bytes) == (0, 0)


def test_a_small_one_costs_no_count():
    peer = Peer()
    peer.send(call(1, LANE, bytes(SMALL_BYTES - 5)))
    assert (len(peer.calls), peer.host.held_bytes) == (1, 0)


def test_a_large_one_that_the_lane_leaves_is_read_once_by_the_general_path():
    peer = Peer()
    peer.host.lanes[LANE.encode()] = lambda _: False
    peer.send(call(1, LANE, LARGE), *parts(3))
    assert peer.host.held_bytes == 2 * len(LARGE)
    for given in peer.general:
        assert (given.message, read(given), read(given)) == (b"", LARGE, None)
    assert peer.host.held_bytes == 0


def read(given: Call) -> bytes | None:
    """What lies there."""
    with pytest.raises(StopIteration) as stopped:
        given.receive().send(None)
    found: bytes | None = stopped.value.value
    return found


def test_a_connection_whose_calls_lie_there_gets_no_more_than_its_share():
    peer = Peer(replace(Limits(), held_bytes=50_000))
    peer.send(*(call(n, LANE, LARGE) for n in range(1, 9, 2)))
    assert [peer.answer(n).status for n in range(1, 9, 2)] == [None, None, 8, 8]
    assert (len(peer.calls), peer.host.held_bytes) == (2, 2 * len(LARGE))
    peer.calls[0].reply(b"")
    peer.send(call(9, LANE, LARGE))
    assert (len(peer.calls), peer.answer(9).status) == (3, None)


def test_who_has_most_with_lanes_goes_when_all_have_too_much_there():
    honest = Peer(replace(Limits(), all_held_bytes=100_000))
    hog = Peer(honest.limits, beside=honest)
    honest.send(call(1, LANE, LARGE))
    hog.send(*(call(n, LANE, LARGE) for n in range(1, 11, 2)))
    hog.read()
    assert (hog.goaway, honest.goaway, honest.host.held_bytes) == (ENHANCE_YOUR_CALM, None, len(LARGE))
    assert [given.done for given in honest.calls] == [False, True, True, True, True]
