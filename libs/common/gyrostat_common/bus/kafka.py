"""The bus on Kafka: one per process, hands out producers, consumers and state readers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from google.protobuf.message import Message

from gyrostat_common.bus.connection import client_options, prefixed, short, unprefixed
from gyrostat_common.bus.consumer import KafkaConsumer, consuming
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.event import OnHeld, Route, StateHandler
from gyrostat_common.bus.producer import KafkaProducer, producing
from gyrostat_common.bus.state import KafkaStateReader, reading_state
from gyrostat_common.errors import Unavailable
from gyrostat_common.settings import KafkaSettings


class KafkaBus:
    """Nothing here waits for Kafka to be up: each part connects in the background and keeps trying."""

    def __init__(self, kafka: KafkaSettings, retries: Retries) -> None:
        self._kafka, self._retries = kafka, retries

    def producer(self) -> AbstractAsyncContextManager[KafkaProducer]:
        return producing(self._kafka)

    def consume(
        self, group: str, routes: Sequence[Route], *, max_records: int = 500
    ) -> AbstractAsyncContextManager[KafkaConsumer]:
        return consuming(self._kafka, group, routes, retries=self._retries, max_records=max_records)

    def read_state(
        self, message: type[Message], handle: StateHandler, on_held: OnHeld | None = None
    ) -> AbstractAsyncContextManager[KafkaStateReader]:
        return reading_state(self._kafka, message, handle, self._retries, on_held)

    async def lag(self, group: str) -> dict[str, int]:
        """Topics that the group has committed something of. Raises Unavailable while Kafka is down."""
        try:
            committed = await self._committed(group)
            ends = await self._ends([partition for partition, _ in committed])
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka does not answer: {short(error)}") from error
        lag: dict[str, int] = {}
        for partition, offset in committed:
            name = unprefixed(self._kafka, partition.topic)
            lag[name] = lag.get(name, 0) + max(0, ends[partition] - offset)
        return lag

    async def _committed(self, group: str) -> list[tuple[TopicPartition, int]]:
        admin = AIOKafkaAdminClient(**client_options(self._kafka))
        try:
            await admin.start()
            offsets = await admin.list_consumer_group_offsets(prefixed(self._kafka, group))
        finally:
            await admin.close()
        return [(partition, found.offset) for partition, found in offsets.items() if found.offset >= 0]

    async def _ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        client = AIOKafkaConsumer(**client_options(self._kafka), enable_auto_commit=False)
        try:
            await client.start()
            ends: dict[TopicPartition, int] = await client.end_offsets(partitions)
            return ends
        finally:
            await client.stop()


@asynccontextmanager
async def open(kafka: KafkaSettings, retries: Retries | None = None) -> AsyncIterator[KafkaBus]:
    """A bus while the block runs. Close what it handed out first."""
    yield KafkaBus(kafka, retries or Retries())
