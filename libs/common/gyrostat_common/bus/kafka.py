"""The bus on Kafka: one per process, hands out producers, consumers and state readers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from google.protobuf.message import Message

from gyrostat_common.bus import contract
from gyrostat_common.bus.connection import client_options, prefixed, short, unprefixed
from gyrostat_common.bus.consumer import KafkaConsumer, consuming
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.event import OnHeld, Position, Route, StateHandler
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
        lag: dict[str, int] = {}
        for position in await self._positions([group], {}):
            lag[position.topic] = lag.get(position.topic, 0) + position.waiting
        return lag

    async def positions(self, groups: Sequence[str]) -> list[Position]:
        """Of all partitions, in the order of the groups."""
        return await self._positions(groups, {group: contract.heard_by(group) for group in groups})

    async def _positions(self, groups: Sequence[str], heard: Mapping[str, Sequence[str]]) -> list[Position]:
        try:
            committed = await self._committed(groups)
            return await self._ends(committed, heard)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka does not answer: {short(error)}") from error

    async def _committed(self, groups: Sequence[str]) -> dict[str, dict[TopicPartition, int]]:
        admin, found = AIOKafkaAdminClient(**client_options(self._kafka)), {}
        try:
            await admin.start()
            for group in groups:
                try:
                    offsets = await admin.list_consumer_group_offsets(prefixed(self._kafka, group))
                except GroupAuthorizationFailedError:
                    continue
                found[group] = {partition: one.offset for partition, one in offsets.items() if one.offset >= 0}
        finally:
            await admin.close()
        return found

    async def _ends(
        self, committed: Mapping[str, dict[TopicPartition, int]], heard: Mapping[str, Sequence[str]]
    ) -> list[Position]:
        """The end of every partition that a group has committed of, or hears by the contract."""
        client = AIOKafkaConsumer(**client_options(self._kafka), enable_auto_commit=False)
        try:
            await client.start()
            known = (await client._client.fetch_all_metadata()) if any(heard.values()) else None
            unread = {
                group: [
                    TopicPartition(name, number)
                    for topic in heard.get(group, ())
                    for name in [prefixed(self._kafka, topic)]
                    for number in (known.partitions_for_topic(name) or () if known else ())
                    if TopicPartition(name, number) not in offsets
                ]
                for group, offsets in committed.items()
            }
            fresh = sorted({partition for partitions in unread.values() for partition in partitions})
            every = sorted({partition for offsets in committed.values() for partition in offsets} | set(fresh))
            begins = await client.beginning_offsets(fresh) if fresh else {}
            ends = await client.end_offsets(every) if every else {}
        finally:
            await client.stop()
        return [
            Position(group, unprefixed(self._kafka, one.topic), one.partition, at, ends[one])
            for group, offsets in committed.items()
            for one, at in sorted((offsets | {new: begins[new] for new in unread[group]}).items())
        ]


@asynccontextmanager
async def open(kafka: KafkaSettings, retries: Retries | None = None) -> AsyncIterator[KafkaBus]:
    """A bus while the block runs. Close what it handed out first."""
    yield KafkaBus(kafka, retries or Retries())
