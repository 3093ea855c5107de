"""Reads the log as it is: every topic of the contract decoded by the options on the event messages, dead letters too.

Reading leaves no trace: no consumer group, nothing committed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from gyrostat.events.v1 import events_pb2
from gyrostat_client.blocking import Blocking, blocking, blocking_iterator
from gyrostat_client.errors import Unreachable
from gyrostat_client.unroll import PredictionRow, rows
from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.event import Tombstone
from gyrostat_common.errors import InvalidInput, NotFound
from gyrostat_common.settings import KafkaSettings

_CONNECT_S = 5.0
_TOMBSTONE = "tombstone"


@dataclass(frozen=True)
class TailedEvent:
    """A record of the log. `payload` is None for a tombstone and for what cannot be decoded; `note` says which."""

    topic: str
    partition: int
    offset: int
    at: datetime
    key: str
    id: str = ""
    type: str = ""
    source: str = ""
    subject: str = ""
    time: datetime | None = None
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""
    note: str = ""
    payload: Message | None = None

    @property
    def model(self) -> str:
        """The model it is about, or empty."""
        named = getattr(self.payload, "model", "")
        return named if isinstance(named, str) else ""

    @property
    def illegible(self) -> bool:
        """Whether it is a record that cannot be decoded."""
        return self.payload is None and self.note != _TOMBSTONE

    def predictions(self) -> Iterable[PredictionRow]:
        """The rows of a micro-batch of predictions; nothing for other events."""
        return rows(self.payload) if isinstance(self.payload, events_pb2.PredictionLogged) else ()


class AsyncEvents:
    """What the services say."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def tail(
        self,
        topics: Sequence[str] = (),
        *,
        model: str = "",
        from_beginning: bool = False,
        follow: bool = True,
        limit: int | None = None,
    ) -> AsyncIterator[TailedEvent]:
        """Events as they come; all topics of the contract unless some are named.

        `from_beginning` starts at the oldest record; `follow=False` ends at what was there at the start; `limit` ends
        after so many events. Raises Unreachable when no broker answers, NotFound for a topic that is not there.
        """
        async with _Consumer(self._kafka) as consumer:
            partitions = await _partitions(consumer, self._kafka.topic_prefix, topics)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.beginning_offsets(partitions) if from_beginning or not follow else ends
            for (
                place,
                start,
            ) in starts.items():  # by offset: a seek "to the beginning" races with the client's own reset
                consumer.seek(place, start)
            left = None if follow else {place for place, end in ends.items() if starts[place] < end}
            seen = 0
            while left is None or left:
                for records in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
                    for record in records:
                        event = to_event(record, self._kafka.topic_prefix)
                        if model and model not in (event.model, event.subject.partition(":")[0], event.key):
                            continue
                        yield event
                        seen += 1
                        if limit is not None and seen >= limit:
                            return
                if left is not None:
                    left = {place for place in left if await consumer.position(place) < ends[place]}

    async def dead_letters(self) -> dict[str, int]:
        """Records in each dead-letter topic that is there, without the site's prefix. Unreachable as for `tail`."""
        async with _Consumer(self._kafka) as consumer:
            return await _dead_letters(consumer, self._kafka.topic_prefix)


class Events(Blocking):
    """AsyncEvents without `await`."""

    dead_letters = blocking(AsyncEvents.dead_letters)

    tail = blocking_iterator(AsyncEvents.tail)


def reading(kafka: KafkaSettings) -> AbstractAsyncContextManager[Any]:
    """A consumer of aiokafka without a group. Raises Unreachable when entered and no broker answers."""
    return _Consumer(kafka)


def to_event(record: Any, prefix: str = "") -> TailedEvent:
    """A record of aiokafka as an event; what cannot be decoded says why in `note`."""
    topic = record.topic.removeprefix(prefix)
    headers = tuple((name, bytes(value)) for name, value in record.headers)
    place = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        "key": _text(record.key),
    }
    if topic.endswith(".dlq"):
        return TailedEvent(**place, **_dead_letter(headers, record))
    try:
        decoded = codec.decode(codec.incoming(topic, record))
    except InvalidInput as error:
        return TailedEvent(**place, note=f"cannot be decoded: {error}")
    if isinstance(decoded, Tombstone):
        return TailedEvent(**place, note=_TOMBSTONE)
    return TailedEvent(**place, **_attributes(decoded.event))


def _attributes(event: Any) -> dict[str, Any]:
    """Fields of TailedEvent from a decoded event."""
    message: Any = type(event.payload)
    known = contract.of_message(message)
    return {
        "id": event.id,
        "type": known.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "traceparent": event.traceparent,
        "payload": event.payload,
    }


def _dead_letter(headers: codec.Headers, record: Any) -> dict[str, Any]:
    """A dead letter: why it is there, and the original event where it can be decoded."""
    said = {name: _text(value) for name, value in headers if name.startswith("dlq_")}
    why = (
        f"{said.get('dlq_error', 'error')} in {said.get('dlq_group', '?')} after {said.get('dlq_tries', '?')} tries: "
        f"{said.get('dlq_detail', '')} (from {said.get('dlq_topic', '?')}/{said.get('dlq_partition', '?')} "
        f"at {said.get('dlq_offset', '?')})"
    )
    try:
        return {**_attributes(codec.decode_event(headers, record.key, record.value or b"")), "note": why}
    except InvalidInput as error:
        return {"note": f"{why}; cannot be decoded: {error}"}


class _Consumer(AbstractAsyncContextManager[Any]):
    """An aiokafka consumer without a group, started within a limit and stopped under one."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def __aenter__(self) -> Any:
        from aiokafka import AIOKafkaConsumer
        from aiokafka.errors import KafkaError

        from gyrostat_common.bus.connection import client_options

        self._opened = AIOKafkaConsumer(
            **client_options(self._kafka), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            await asyncio.wait_for(self._opened.start(), _CONNECT_S)
        except (KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(self._opened.stop(), _CONNECT_S)
            raise Unreachable("Kafka", self._kafka.bootstrap_servers) from None
        return self._opened

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._opened.stop(), _CONNECT_S)


async def _partitions(consumer: Any, prefix: str, wanted: Sequence[str]) -> list[Any]:
    """All partitions of the wanted topics; those of the contract that exist when none is named."""
    from aiokafka import TopicPartition

    metadata = await consumer._client.fetch_all_metadata()  # `topics()` gives the names alone
    there = {name for name in metadata.topics() if name.startswith(prefix)}
    names = [prefix + name for name in wanted] or sorted(
        name for name in there if contract.of_topic(name.removeprefix(prefix)) or name.endswith(".dlq")
    )
    if missing := [name for name in names if name not in there]:
        raise NotFound(f"no topic {', '.join(missing)} in this Kafka; `gyrostat topics apply` creates what is missing")
    if not names:
        raise NotFound("this Kafka has no topic of ours; `gyrostat topics apply` creates them")
    return [
        TopicPartition(name, number) for name in names for number in sorted(metadata.partitions_for_topic(name) or ())
    ]


async def _dead_letters(consumer: Any, prefix: str) -> dict[str, int]:
    """Offsets between beginning and end: what retention has deleted does not count."""
    from aiokafka import TopicPartition

    metadata = await consumer._client.fetch_all_metadata()
    names = sorted(name for name in metadata.topics() if name.startswith(prefix) and name.endswith(".dlq"))
    places = [TopicPartition(name, number) for name in names for number in metadata.partitions_for_topic(name) or ()]
    if not places:
        return {}
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    counts = dict.fromkeys((name.removeprefix(prefix) for name in names), 0)
    for place in places:
        counts[place.topic.removeprefix(prefix)] += ends[place] - begins[place]
    return counts


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="backslashreplace")
