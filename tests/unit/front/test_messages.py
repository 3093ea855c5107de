"""Messages in pieces of any size, and messages that cannot be taken."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_front.messages import Inbox, Unreadable, compressed, decompressed
from support.http2 import message

MOST = 1000


@given(st.lists(st.binary(max_size=60), max_size=6), st.lists(st.integers(1, 40)))
def test_messages_are_the_same_however_they_are_cut(messages: list[bytes], cuts: list[int]):
    raw = b"".join(message(one) for one in messages)
    inbox, at = Inbox(MOST), 0
    for size in [*cuts, len(raw)]:
        inbox.feed(raw[at : at + size])
        at += size
    assert [inbox.take() for _ in list(inbox.messages)] == [(False, one) for one in messages]
    assert (inbox.cut, inbox.held_bytes) == (False, 0)


def test_what_is_kept_is_counted():
    inbox = Inbox(MOST)
    inbox.feed(message(b"12345") + message(b"67890")[:7])
    assert (inbox.held_bytes, inbox.unread_bytes, inbox.cut) == (12, 5, True)


@pytest.mark.parametrize(("raw", "code"), [(b"\x00\x00\x00\x03\xe9", 8), (b"\x02\x00\x00\x00\x01", 13)])
def test_a_head_that_says_too_much_is_refused_before_its_message_comes(raw: bytes, code: int):
    with pytest.raises(Unreadable) as caught:
        Inbox(MOST).feed(raw)
    assert caught.value.code == code


PACKERS = {b"gzip": gzip.compress, b"deflate": zlib.compress}


@pytest.mark.parametrize("packing", PACKERS, ids=bytes.decode)
def test_a_packed_message_comes_back(packing: bytes):
    assert decompressed(compressed(b"abc" * 100, packing), packing, MOST) == b"abc" * 100
    assert decompressed(PACKERS[packing](b"abc" * 100), packing, MOST) == b"abc" * 100


@pytest.mark.parametrize("packing", PACKERS, ids=bytes.decode)
def test_what_is_not_packed_so_or_becomes_too_large_is_refused(packing: bytes):
    pack = PACKERS[packing]
    for raw, code in ((pack(bytes(MOST + 1)), 8), (b"nothing of it", 13), (pack(b"abc")[:-4], 13), (b"", 13)):
        with pytest.raises(Unreadable) as caught:
            decompressed(raw, packing, MOST)
        assert caught.value.code == code
