"""One view of a log in memory and of a log on Kafka, so that a suite can be run on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from gyrostat_common import bus
from gyrostat_common.bus.connection import client_options, prefixed
from gyrostat_common.bus.kafka import KafkaBus
from gyrostat_common.bus.producer import producing
from gyrostat_common.settings import KafkaSettings

IMPATIENT = bus.Retries(first_s=0.01, most_s=0.02, in_place_s=2.0, dead_letters=5)
TOPICS = ("model.promoted", "outcome.recorded", "serving.plan")


class Log(Protocol):
    """A bus, and what a test wants to see and do beside it."""

    bus: Any

    async def append(self, record: bus.codec.Outgoing) -> tuple[int, int]:
        """Any record, also a broken one."""
        ...

    async def records(self, topic: str) -> list[bus.codec.Incoming]:
        """All records of a topic."""
        ...


class MemoryLog:
    """On the bus in memory."""

    def __init__(self) -> None:
        self.bus = bus.MemoryBus(IMPATIENT)

    async def append(self, record: bus.codec.Outgoing) -> tuple[int, int]:
        return await self.bus.append(record)

    async def records(self, topic: str) -> list[bus.codec.Incoming]:
        return self.bus.records(topic)


class KafkaLog:
    """On a broker, under the settings' topic prefix."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.bus = KafkaBus(kafka, IMPATIENT)

    async def append(self, record: bus.codec.Outgoing) -> tuple[int, int]:
        async with producing(self.kafka) as producer, asyncio.timeout(30):
            return await producer.send_record(record)

    async def records(self, topic: str) -> list[bus.codec.Incoming]:
        name = prefixed(self.kafka, topic)
        client = AIOKafkaConsumer(name, **client_options(self.kafka), auto_offset_reset="earliest")
        await client.start()
        found = []
        try:
            partitions = [TopicPartition(name, number) for number in client.partitions_for_topic(name) or ()]
            ends = await client.end_offsets(partitions)
            async with asyncio.timeout(30):
                while any([await client.position(partition) < ends[partition] for partition in partitions]):
                    for records in (await client.getmany(timeout_ms=100)).values():
                        found += [bus.codec.incoming(topic, record) for record in records]
        finally:
            await client.stop()
        return found


@asynccontextmanager
async def opened(kafka: KafkaSettings | None, names: tuple[str, ...] = TOPICS) -> AsyncIterator[Log]:
    """With the named topics made; None: in memory."""
    if kafka is None:
        yield MemoryLog()
        return
    wanted = [topic for topic in bus.contract.events() if topic.name in names]
    await bus.topics.apply(kafka, wanted=wanted)
    yield KafkaLog(kafka)
