"""What waits in the log, asked of Kafka itself: consumers that stand still, and state that nobody can read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gyrostat_client.events import AsyncEvents, reading
from gyrostat_common import bus
from gyrostat_common.bus import contract
from gyrostat_common.settings import KafkaSettings

OLD_S = 60.0
_LOOK_S, _READ_MS = 10.0, 3_000


@dataclass(frozen=True)
class Backlog:
    """What waits for a group in one partition. `since` is when the oldest waiting record was written."""

    group: str
    topic: str
    partition: int
    offset: int
    records: int
    since: datetime | None
    moved: bool
    """Whether the group took something in while we looked, for up to ten seconds; True when nothing old waits."""

    def age_s(self, now: datetime) -> float:
        """Seconds that the oldest record has waited; 0 when that is not known."""
        return 0.0 if self.since is None else (now - self.since).total_seconds()


async def backlogs(kafka: KafkaSettings) -> list[Backlog]:
    """Every group's partitions, also those where nothing waits. Raises Unavailable while Kafka is down. Takes ten
    seconds when a group does not move at all.
    """
    async with bus.open(kafka) as log:
        first = await log.positions(contract.GROUPS)
        since = await _written(kafka, [one for one in first if one.waiting])
        now = datetime.now(UTC)
        old = {_place(one): one.at for one in first if (now - since.get(_place(one), now)).total_seconds() > OLD_S}
        still = await _still(log, old)
    return [
        Backlog(
            *_place(one),
            offset=one.at,
            records=one.waiting,
            since=since.get(_place(one)),
            moved=_place(one) not in still,
        )
        for one in first
    ]


def _place(one: bus.Position) -> tuple[str, str, int]:
    return one.group, one.topic, one.partition


async def _still(log: Any, old: dict[tuple[str, str, int], int]) -> dict[tuple[str, str, int], int]:
    """Those of the places whose group does not move within ten seconds."""
    until = asyncio.get_running_loop().time() + _LOOK_S
    while old and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(1.0)
        now = {_place(one): one.at for one in await log.positions(sorted({group for group, _, _ in old}))}
        old = {place: at for place, at in old.items() if now.get(place, at) == at}
    return old


async def _written(kafka: KafkaSettings, waiting: Sequence[bus.Position]) -> dict[tuple[str, str, int], datetime]:
    """When the first record that waits was written, by the log's own time stamp."""
    found: dict[tuple[str, str, int], datetime] = {}
    async with reading(kafka) as consumer:
        for one in waiting:
            record = await _first_from(consumer, kafka.topic_prefix + one.topic, one.partition, one.at)
            if record is not None:
                found[_place(one)] = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return found


async def _first_from(consumer: Any, topic: str, partition: int, offset: int) -> Any:
    from aiokafka import TopicPartition

    place = TopicPartition(topic, partition)
    consumer.assign([place])
    consumer.seek(place, offset)
    fetched = await consumer.getmany(place, timeout_ms=_READ_MS, max_records=1)
    return next((record for records in fetched.values() for record in records), None)


@dataclass(frozen=True)
class Illegible:
    """A key of a state topic whose newest record cannot be read."""

    place: str
    key: str
    reason: str


async def illegible(kafka: KafkaSettings) -> list[Illegible]:
    """Of every state topic that is there. Raises Unreachable, and NotFound when a topic is missing."""
    newest: dict[tuple[str, str], Illegible | None] = {}
    topics = [topic.name for topic in contract.events() if topic.compacted]
    async for event in AsyncEvents(kafka).tail(topics, from_beginning=True, follow=False):
        place = f"{event.topic}/{event.partition} offset {event.offset}"
        newest[event.topic, event.key] = Illegible(place, event.key, event.note) if event.illegible else None
    return [one for one in newest.values() if one is not None]
