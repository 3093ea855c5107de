"""CloudEvents 1.0, Kafka protocol binding, binary mode: attributes in headers `ce_…`, the payload as the value.

Own, because the SDK turns protobuf bytes that happen to be UTF-8 into text and loses tombstones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from gyrostat_common.bus import contract
from gyrostat_common.bus.event import Event, Received, Tombstone
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import parse_rfc3339, to_rfc3339

CONTENT_TYPE = "application/protobuf"
SCHEMAS = "https://gyrostat.dev/schemas/"
Headers = tuple[tuple[str, bytes], ...]


class Undecodable(InvalidInput):
    """The record is not one of our events."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A record to be sent. `topic` is without the site's prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A record as it lay. `topic` is without the site's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


def incoming(topic: str, record: Any) -> Incoming:
    """A record as the Kafka client hands it over; `topic` without the site's prefix."""
    return Incoming(
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp_ms=record.timestamp,
    )


def encode(event: Event, traceparent: str | None = None) -> Outgoing:
    """The record of an event; `traceparent` replaces the event's own. Equal events give equal bytes."""
    topic = contract.of_message(type(event.payload))
    attributes = {
        "content-type": CONTENT_TYPE,
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_type": topic.type,
        "ce_time": to_rfc3339(event.time),
        "ce_subject": event.subject,
        "ce_dataschema": SCHEMAS + event.payload.DESCRIPTOR.full_name,
        "ce_correlationid": event.correlation_id,
        "ce_causationid": event.causation_id,
        "ce_partitionkey": event.key or "",
        "traceparent": event.traceparent if traceparent is None else traceparent,
    }
    return Outgoing(
        topic=topic.name,
        key=None if event.key is None else event.key.encode(),
        value=event.payload.SerializeToString(deterministic=True),
        headers=tuple((name, value.encode()) for name, value in attributes.items() if value),
        partition=event.partition,
    )


def tombstone(topic: str, key: str) -> Outgoing:
    """The record that takes a key's state away."""
    return Outgoing(topic=topic, key=key.encode(), value=None, headers=())


def decode(record: Incoming) -> Received | Tombstone:
    """Raises Undecodable, which says what is wrong with the record."""
    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }
    if record.value is None:
        # A key that is no text can be taken away like any other.
        key = None if record.key is None else record.key.decode(errors="backslashreplace")
        return Tombstone(key=key, **place)  # type: ignore[arg-type]
    return Received(event=decode_event(record.headers, record.key, record.value, record.topic), **place)  # type: ignore[arg-type]


def decode_event(headers: Headers, key: bytes | None, value: bytes, topic: str = "") -> Event:
    """The event in a record's parts. Raises Undecodable."""
    attributes = {}
    for name, raw in headers:
        known_as = name if name in _READ else name.lower()
        if known_as in _READ:
            attributes[known_as] = _text(name, raw)
    _check_binary_mode(attributes)
    known = contract.of_type(attributes["ce_type"])
    if known is None or known.message is None or (topic and known.name != topic):
        raise Undecodable(f"ce_type {attributes['ce_type']!r} does not belong to topic {topic or 'of any event'}")
    try:
        payload = known.message.FromString(value)
    except DecodeError as error:
        raise Undecodable(f"the value is no {known.message.DESCRIPTOR.full_name}") from error
    try:
        time = parse_rfc3339(attributes["ce_time"])
    except InvalidInput as error:
        raise Undecodable(f"ce_time: {error}") from error
    return Event(
        payload=payload,
        key=None if key is None else _text("key", key),
        subject=attributes.get("ce_subject", ""),
        source=attributes["ce_source"],
        id=attributes["ce_id"],
        time=time,
        correlation_id=attributes.get("ce_correlationid", ""),
        causation_id=attributes.get("ce_causationid", ""),
        traceparent=attributes.get("traceparent", ""),
    )


_REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time")
_READ = frozenset((*_REQUIRED, "content-type", "ce_subject", "ce_correlationid", "ce_causationid", "traceparent"))


def _check_binary_mode(attributes: dict[str, str]) -> None:
    content_type = attributes.get("content-type", "")
    if content_type.startswith("application/cloudevents"):
        raise Undecodable(f"content-type {content_type} is structured mode; events here are in binary mode")
    missing = [name for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise Undecodable(f"no CloudEvent in binary mode: header {', '.join(missing)} is missing")
    if attributes["ce_specversion"] != "1.0":
        raise Undecodable(f"ce_specversion is {attributes['ce_specversion']}, expected 1.0")
    if content_type and content_type.split(";")[0].strip() not in (CONTENT_TYPE, "application/x-protobuf"):
        raise Undecodable(f"content-type is {content_type}, expected {CONTENT_TYPE}")


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Undecodable(f"{name} is not UTF-8") from error
