"""What `make fuzz` found in the front, kept."""

from __future__ import annotations

import pytest

from support.front_peer import LANE, Peer
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, asking, block, frame, message


@pytest.mark.parametrize("flags", [0, END_STREAM])
def test_a_message_that_is_refused_is_not_taken_off_the_books_twice(flags: int) -> None:
    """Else the sum of what is held sinks below nothing, and the limit on it never comes."""
    peer = Peer()
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), frame(DATA, flags, 1, message(b"x", 7)))
    assert (peer.host.held_bytes, peer.connection.held_bytes, peer.host.streams) == (0, 0, 0)
