"""Messages between the processes of a replica, and their metrics as one."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric

from gyrostat_inference.cores.channel import LARGEST_MESSAGE, Channel, ChannelLost
from gyrostat_inference.cores.messages import (
    Again,
    Ask,
    BadMessage,
    Beat,
    Close,
    Family,
    FromSupervisor,
    FromWorker,
    Plan,
    Said,
    States,
    Totals,
    Up,
    VersionCounters,
    Want,
    Word,
    decode,
    encode,
)
from gyrostat_inference.cores.meters import merged, with_workers
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import ModelState
from gyrostat_inference.domain.live import Applied


def counted() -> VersionCounters:
    counters = Counters()
    counters.ran(8, 1000)
    counters.success.add(5)
    return VersionCounters(model="flights", version=4, counters=counters)


ROW = Applied("flights", 4, 7, False, "no memory")
MESSAGES: list[FromSupervisor | FromWorker] = [
    Plan(raw=b"\x00\xff"),
    Word(reason=None, problems={"kafka": "down"}),
    Ask(number=1, metrics=True),
    Totals(number=1, counters=[counted()], applied=[ROW]),
    Again(model="flights"),
    Close(),
    Up(),
    Beat(streams=1, connections=2, adopted=3),
    States(states=[ModelState("flights", 6, 7, True, (ROW,))], not_ready="why"),
    Said(
        number=1,
        counters=[counted()],
        written=[Written("answer-1", 3, 1, {"full": 1})],
        families=[Family(name="n", kind="counter", text="", samples=[("n_total", {"a": "b"}, 1.5)])],
    ),
    Want(number=9),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_every_message_arrives_as_it_left(message: FromSupervisor | FromWorker):
    assert decode(encode(message)) == message


@given(st.binary(max_size=200) | st.sampled_from([encode(each) for each in MESSAGES]).map(lambda good: good[:-1]))
def test_what_is_no_message_is_refused_in_one_way(content: bytes):
    with pytest.raises(BadMessage):
        decode(content)


async def a_channel() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return await Channel.over(ours), await Channel.over(theirs)


async def test_messages_arrive_in_order_and_the_end_is_told():
    one, other = await a_channel()
    for message in MESSAGES:
        one.post(message)
    assert [await other.next() for _ in MESSAGES] == MESSAGES
    one.close()
    with pytest.raises(ChannelLost, match="is gone"):
        await other.next()
    other.close()


async def test_a_message_that_is_too_large_is_not_sent_and_one_who_does_not_read_is_lost():
    one, other = await a_channel()
    with pytest.raises(ChannelLost, match="at most"):
        one.post(Plan(raw=bytes(LARGEST_MESSAGE)))
    for _ in range(7):
        one.post(Plan(raw=bytes(8 * 1024 * 1024)))
    with pytest.raises(ChannelLost, match="does not read"):
        one.post(Close())
    one.close()
    other.close()


async def test_a_length_that_is_too_large_is_not_waited_for():
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    theirs.send(b"\xff\xff\xff\xff{}")
    with pytest.raises(ChannelLost, match="a message of 4294967295 bytes"):
        await channel.next()
    channel.close()
    theirs.close()


def a_family(name: str, kind: str, *samples: tuple[str, float], **labels: str) -> Family:
    return Family(name=name, kind=kind, text="", samples=[(each, labels, value) for each, value in samples])


def test_what_grows_is_added_and_of_what_goes_up_and_down_the_greatest_counts():
    one = [
        a_family("calls", "counter", ("calls_total", 3.0), ("calls_created", 50.0)),
        a_family("g", "gauge", ("g", 1.0)),
    ]
    other = [
        a_family("calls", "counter", ("calls_total", 4.0), ("calls_created", 40.0)),
        a_family("g", "gauge", ("g", 2.0)),
    ]
    whole = {family.name: [(name, value) for name, _, value in family.samples] for family in merged([one, other])}
    assert whole == {"calls": [("calls_total", 7.0), ("calls_created", 40.0)], "g": [("g", 2.0)]}


def test_a_page_shows_each_family_once_and_the_supervisors_word_of_a_gauge():
    ready, calls = Metric("ready", "", "gauge"), Metric("calls", "", "counter")
    ready.add_sample("ready", {}, 0.0)
    calls.add_sample("calls_total", {"code": "OK"}, 1.0)
    theirs = [
        a_family("ready", "gauge", ("ready", 1.0)),
        a_family("calls", "counter", ("calls_total", 5.0), code="OK"),
        a_family("rows", "unknown", ("rows", 9.0), model="flights"),
    ]
    shown = {
        metric.name: [(s.labels, s.value) for s in metric.samples]
        for metric in with_workers(lambda: theirs)([ready, calls])
    }
    assert shown == {"ready": [({}, 0.0)], "calls": [({"code": "OK"}, 6.0)], "rows": [({"model": "flights"}, 9.0)]}
