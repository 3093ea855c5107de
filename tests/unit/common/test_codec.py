"""CloudEvents 1.0, Kafka protocol binding, binary mode, with the partitioning extension."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus import codec
from gyrostat_common.bus.codec import Incoming, Outgoing, Undecodable
from support.events import NOON, a_promotion, an_event


def arrived(record: Outgoing, **changes: Any) -> Incoming:
    values: dict[str, Any] = {
        "topic": record.topic,
        "partition": 0,
        "offset": 7,
        "key": record.key,
        "value": record.value,
        "headers": record.headers,
        "timestamp_ms": 1,
    }
    return Incoming(**(values | changes))


def headers_of(record: Outgoing) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_required_attributes_are_headers_with_the_prefix() -> None:
    headers = headers_of(codec.encode(a_promotion(4, id="e-1")))
    assert headers == {
        "content-type": "application/protobuf",
        "ce_specversion": "1.0",
        "ce_id": "e-1",
        "ce_source": "gyrostat-test",
        "ce_type": "dev.gyrostat.model.promoted.v1",
        "ce_time": "2013-03-01T12:00:00Z",
        "ce_subject": "flights:4",
        "ce_dataschema": "https://gyrostat.dev/schemas/gyrostat.events.v1.ModelPromoted",
        "ce_partitionkey": "flights",
    }


def test_extensions_and_trace_travel_when_they_are_set() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = headers_of(codec.encode(a_promotion(correlation_id="loop", causation_id="parent", traceparent=trace)))
    assert (headers["ce_correlationid"], headers["ce_causationid"], headers["traceparent"]) == ("loop", "parent", trace)


def test_the_value_is_the_payload_and_nothing_else() -> None:
    event = a_promotion(4)
    assert codec.encode(event).value == event.payload.SerializeToString()


def test_header_values_are_utf8() -> None:
    event = a_promotion(1, model="Zürich→東京")
    received = codec.decode(arrived(codec.encode(event)))
    assert isinstance(received, bus.Received)
    assert (received.event.subject, received.event.key) == ("Zürich→東京:1", "Zürich→東京")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    model=TEXT, evidence=TEXT, revision=st.integers(0, 2**63 - 1), key=st.none() | TEXT, source=NAME, id=NAME,
    subject=TEXT, loop=TEXT, parent=TEXT, time=st.datetimes(timezones=st.just(NOON.tzinfo)),
)  # fmt: skip
def test_every_event_comes_back_as_it_was(
    model: str, evidence: str, revision: int, key: str | None, source: str, id: str, subject: str, loop: str,
    parent: str, time: Any,
) -> None:  # fmt: skip
    payload = events_pb2.ModelPromoted(model=model, evidence=evidence, plan_revision=revision)
    event = bus.Event(
        payload=payload, key=key, source=source, id=id, subject=subject, correlation_id=loop, causation_id=parent,
        time=time,
    )  # fmt: skip
    received = codec.decode(arrived(codec.encode(event)))
    assert isinstance(received, bus.Received)
    assert received.event == event


def test_a_null_value_is_a_tombstone_and_an_empty_one_is_an_event() -> None:
    gone = codec.decode(arrived(codec.tombstone("serving.plan", "production/flights")))
    assert gone == bus.Tombstone(key="production/flights", topic="serving.plan", partition=0, offset=7, timestamp_ms=1)
    empty = codec.encode(an_event(events_pb2.ServingPlan()))
    assert empty.value == b""
    assert isinstance(codec.decode(arrived(empty)), bus.Received)


def without(record: Outgoing, name: str) -> Outgoing:
    return replace(record, headers=tuple(header for header in record.headers if header[0] != name))


def with_header(record: Outgoing, name: str, value: bytes) -> Outgoing:
    return replace(without(record, name), headers=(*without(record, name).headers, (name, value)))


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"])
def test_a_missing_attribute_is_named(name: str) -> None:
    with pytest.raises(Undecodable, match=name):
        codec.decode(arrived(without(codec.encode(a_promotion()), name)))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ce_specversion", b"2.0", "expected 1.0"),
        ("ce_type", b"com.example.other", "com.example.other"),
        ("ce_type", b"dev.gyrostat.drift.detected.v1", "does not belong to topic model.promoted"),
        ("ce_time", b"yesterday", "yesterday"),
        ("ce_id", b"\xff", "ce_id is not UTF-8"),
        ("content-type", b"application/cloudevents+json", "structured mode"),
        ("content-type", b"application/json", "application/json"),
    ],
)
def test_a_wrong_header_is_named(name: str, value: bytes, said: str) -> None:
    with pytest.raises(Undecodable, match=said):
        codec.decode(arrived(with_header(codec.encode(a_promotion()), name, value)))


def test_a_value_that_is_not_the_message_is_refused() -> None:
    with pytest.raises(Undecodable, match=r"gyrostat\.events\.v1\.ModelPromoted"):
        codec.decode(arrived(codec.encode(a_promotion()), value=b"\xff\xff"))


def test_names_of_headers_are_read_whatever_their_case_and_strangers_are_ignored() -> None:
    record = codec.encode(a_promotion(2))
    headers = (*((name.upper(), value) for name, value in record.headers), ("x-other", b"\xff"))
    received = codec.decode(arrived(record, headers=headers))
    assert isinstance(received, bus.Received)
    assert received.event.payload.version_after == 2


def test_every_topic_has_what_kafka_needs() -> None:
    for topic in bus.contract.contract():
        assert topic.partitions >= 1
        assert topic.compacted == (topic.retention_days == 0)
        assert topic.config()["cleanup.policy"] in ("compact", "delete")
    names = {topic.name for topic in bus.contract.contract()}
    assert {"prediction.logged", "serving.plan", "registry.dlq", "trainer.dlq"} <= names


def test_a_message_without_a_topic_is_refused() -> None:
    with pytest.raises(ValueError, match="SpoolBooks has no topic"):
        codec.encode(an_event(events_pb2.SpoolBooks()))
