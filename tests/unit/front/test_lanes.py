"""What a lane is given, and what becomes of its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gyrostat_front.host import Together
from gyrostat_front.hpack import MOST_CHANGES
from gyrostat_front.limits import Limits
from support.front_peer import LANE, Peer, echoes
from support.http2 import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    SETTINGS,
    asking,
    block,
    call,
    frame,
    message,
    reset,
)


def test_a_call_is_given_whole_as_its_last_frame_is_read():
    peer = Peer()
    peer.send(call(1, LANE, b"hello", grpc_timeout="2S", x_mine="yes"))
    (given,) = peer.calls
    assert (given.path, given.message, given.peer) == (LANE, b"hello", "ipv4:127.0.0.1:4711")
    assert (given.header("x-mine"), given.header("x-other"), given.deadline) == ("yes", "", peer.loop.now + 2)


@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_the_same_comes_of_a_request_in_pieces(size: int):
    peer, raw = Peer(), message(b"hello" * 30)
    pieces = [frame(DATA, 0, 1, raw[at : at + size]) for at in range(0, len(raw), size)] if size else []
    last = frame(DATA, END_STREAM, 1, b"" if size else raw)
    for one in [frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), *pieces, last]:
        for byte in one:
            peer.send(bytes((byte,)))
    assert [given.message for given in peer.calls] == [b"hello" * 30]
    assert peer.host.held_bytes == (150 if size else 0)
    peer.calls[0].reply(b"")
    assert peer.host.held_bytes == 0


def test_padding_is_no_message():
    peer = Peer()
    padded = b"\x03" + message(b"hi") + bytes(3)
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), frame(DATA, END_STREAM | PADDED, 1, padded))
    assert [given.message for given in peer.calls] == [b"hi"]


def test_a_reply_is_three_frames_and_the_end():
    peer = Peer()
    peer.send(call(1, LANE, b"hello"))
    peer.calls[0].reply(b"there")
    peer.loop.turn()
    answer = peer.answer(1)
    assert (answer.status, answer.content, answer.fields[":status"]) == (0, message(b"there"), "200")
    assert peer.connection.streams == {}


def test_all_replies_of_a_turn_leave_in_one_write():
    peer = Peer()
    peer.send(*(call(n, LANE) for n in range(1, 21, 2)))
    peer.read()
    for given in peer.calls:
        given.reply(b"")
    assert peer.wire.written == []
    peer.loop.turn()
    assert len(peer.wire.written) == 1
    assert peer.answer(19).status == 0


def test_answers_given_together_leave_as_that_ends_and_not_a_turn_later():
    one = Peer()
    other = Peer(beside=one)
    for peer in (one, other):
        peer.send(call(1, LANE), call(3, LANE))
        peer.read()
    with Together(one.host):
        for given in one.calls:
            given.reply(b"")
        assert one.wire.written == other.wire.written == []
    assert [len(peer.wire.written) for peer in (one, other)] == [1, 1]
    one.loop.turn()
    assert [peer.answer(3).status for peer in (one, other)] == [0, 0]


@pytest.mark.parametrize(("value", "status"), [("AAE", 0), ("AAE,AAI=", 0), ("!!!", 13), ("AA=A", 13)])
def test_binary_metadata_that_are_none_are_refused_before_the_lane_has_the_call(value: str, status: int):
    peer = Peer()
    peer.host.lanes[LANE.encode()] = echoes
    for stream in (1, 3, 5):
        peer.send(call(stream, LANE, x_bin=value))
        assert peer.answer(stream).status == status


def test_replies_given_while_the_read_is_handled_leave_with_it():
    peer = Peer()
    peer.host.lanes[LANE.encode()] = echoes
    peer.connection.data_received(b"".join(call(n, LANE, b"%d" % n) for n in range(1, 21, 2)))
    assert len(peer.wire.written) == 1
    assert peer.answer(19).content == message(b"19")


def test_a_failure_is_one_block_with_status_text_and_metadata():
    peer = Peer()
    peer.send(call(1, LANE))
    peer.calls[0].fail(8, "später: 50 %", (("error-reason", "Full"), ("x-bin", b"\xff")))
    peer.loop.turn()
    fields = peer.answer(1).fields
    assert (fields["grpc-status"], fields["grpc-message"]) == ("8", "sp%C3%A4ter: 50 %25")
    assert (fields["error-reason"], fields["x-bin"]) == ("Full", "/w")


def test_metadata_that_cannot_be_sent_fail_the_call_and_do_not_lose_it():
    peer = Peer()
    peer.send(call(1, LANE))
    peer.calls[0].fail(8, "full", (("No Name", "x"),))
    peer.loop.turn()
    assert peer.answer(1).status == 13


def test_a_call_is_answered_once():
    peer = Peer()
    peer.send(call(1, LANE))
    given = peer.calls[0]
    given.reply(b"a")
    given.reply(b"b")
    given.fail(13, "c")
    peer.loop.turn()
    assert (peer.answer(1).content, peer.answer(1).status, given.gone) == (message(b"a"), 0, True)


def test_what_a_lane_does_not_take_goes_the_general_way_whole():
    peer = Peer()
    peer.host.lanes[LANE.encode()] = lambda given: False
    peer.send(call(1, LANE, b"odd"))
    (given,) = peer.general
    assert given.opened().take() == (False, b"odd")


def test_a_lane_that_raises_fails_its_call_alone():
    def fails(given):
        raise KeyError(given.path)

    peer = Peer()
    peer.host.lanes[LANE.encode()] = fails
    peer.host.lanes[b"/test.Lane/Other"] = echoes
    peer.send(call(1, LANE), call(3, "/test.Lane/Other"))
    assert (peer.answer(1).status, peer.answer(3).status) == (13, 0)


@pytest.mark.parametrize(
    "content",
    [b"", message(b"one") + message(b"two"), message(b"zip", 1), message(b"short")[:-1]],
    ids=["none", "two", "compressed", "cut"],
)
def test_what_is_not_one_plain_message_never_reaches_a_lane(content: bytes):
    peer = Peer()
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), frame(DATA, END_STREAM, 1, content))
    assert (len(peer.calls), len(peer.general)) == (0, 1)


def test_a_call_that_is_taken_back_is_gone_and_its_answer_nobodys():
    peer = Peer()
    peer.send(call(1, LANE), call(3, LANE))
    assert not peer.calls[0].gone
    peer.send(reset(1))
    assert peer.calls[0].gone
    peer.calls[0].reply(b"late")
    peer.calls[1].reply(b"in time")
    peer.loop.turn()
    assert (peer.answer(1).content, peer.answer(3).content) == (b"", message(b"in time"))


@pytest.mark.parametrize("how", ["taken back", "lost", "too late", "answered"])
def test_a_lane_may_hear_that_nobody_waits_for_its_answer(how: str):
    peer, heard = Peer(), []
    peer.send(call(1, LANE, grpc_timeout="1S"))
    peer.calls[0].on_gone = lambda: heard.append(how)
    if how == "taken back":
        peer.send(reset(1))
    elif how == "lost":
        peer.connection.connection_lost(None)
    elif how == "too late":
        peer.passes(2)
    else:
        peer.calls[0].reply(b"")
        peer.send(reset(1))
    assert heard == ([] if how == "answered" else [how])


def test_calls_of_a_connection_that_is_lost_are_gone():
    peer = Peer()
    peer.send(call(1, LANE))
    peer.connection.connection_lost(None)
    assert peer.calls[0].gone
    assert (peer.host.streams, len(peer.host.connections)) == (0, 0)


def test_a_call_whose_deadline_is_past_is_gone_and_told_so():
    peer = Peer()
    peer.send(call(1, LANE, grpc_timeout="100m"))
    peer.loop.now += 0.2
    assert peer.calls[0].gone
    peer.passes(0.1)
    assert peer.answer(1).status == 4


def test_a_call_without_a_deadline_has_one_of_ours():
    peer = Peer(replace(Limits(), answer_s=10))
    peer.send(call(1, LANE))
    peer.passes(9)
    assert peer.answer(1).status is None
    peer.passes(2)
    assert (peer.answer(1).status, peer.calls[0].gone) == (4, True)


def test_a_request_that_does_not_end_is_taken_back():
    peer = Peer(replace(Limits(), request_s=10))
    peer.send(frame(HEADERS, END_HEADERS, 1, block(asking(LANE))), frame(DATA, 0, 1, b"\0"))
    peer.passes(9)
    assert peer.answer(1).reset is None
    peer.passes(2)
    assert (peer.answer(1).reset, peer.goaway) == (CANCEL, None)
    assert peer.host.held_bytes == 0


def test_a_peer_whose_blocks_all_change_the_table_is_asked_once_to_do_without_it():
    peer = Peer()
    asked = []
    for n in range(3 * MOST_CHANGES):
        raw = block(asking(LANE)) + b"\x40" + block([("x-n", str(n))])[1:]
        peer.send(frame(HEADERS, END_HEADERS, 2 * n + 1, raw) + frame(DATA, END_STREAM, 2 * n + 1, message(b"")))
        asked += [n for one in peer.read() if one.kind == SETTINGS and one.payload == b"\0\1\0\0\0\0"]
    assert asked == [MOST_CHANGES - 1]
    assert [given.header("x-n") for given in peer.calls] == [str(n) for n in range(3 * MOST_CHANGES)]
