"""Reads a compacted topic: all partitions by hand, from the beginning, no group, and stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from google.protobuf.message import Message

from gyrostat_common import telemetry
from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.connection import client_options, prefixed, short
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.event import Received, StateHandler, Tombstone
from gyrostat_common.bus.spans import processing
from gyrostat_common.errors import AlreadyExists, Overloaded, Unavailable, kind_of
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.tasks import ended

log = telemetry.get_logger("bus.state")


class StateStopped(Exception):
    """A record of state cannot be handled; going on without it would be going on with a wrong state."""


class KafkaStateReader:
    """Reads while its block runs. After a break it begins again: handlers see records again, oldest first."""

    def __init__(self, kafka: KafkaSettings, message: type[Message], handle: StateHandler, retries: Retries) -> None:
        self.caught_up = asyncio.Event()
        self.problem: str | None = None
        self._kafka, self._handle, self._retries = kafka, handle, retries
        self._topic = contract.of_message(message).name

    async def run(self) -> None:
        """Until cancelled, or until a record cannot be handled."""
        delay = 0.1
        while True:
            try:
                await self._read()
            except StateStopped as reason:
                self.problem = str(reason)
                log.error("state_reader_stopped", topic=self._topic, reason=self.problem)
                return
            except (KafkaError, OSError) as error:
                log.warning("state_reader_interrupted", topic=self._topic, error=short(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)

    async def _read(self) -> None:
        client = AIOKafkaConsumer(
            **client_options(self._kafka),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=200,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            await client.start()
            partitions = await self._partitions(client)
            client.assign(partitions)
            ends = await client.end_offsets(partitions)
            await client.seek_to_beginning(*partitions)
            while True:
                for records in (await client.getmany(timeout_ms=200)).values():
                    for record in records:
                        await self._one(record)
                if not self.caught_up.is_set():
                    await self._check_caught_up(client, ends)
        finally:
            try:
                async with asyncio.timeout(5.0):
                    await client.stop()
            except (TimeoutError, KafkaError, OSError) as error:
                log.warning("state_reader_not_closed", error=short(error))

    async def _partitions(self, client: AIOKafkaConsumer) -> list[TopicPartition]:
        name = prefixed(self._kafka, self._topic)
        await client._client.force_metadata_update()
        numbers = client.partitions_for_topic(name)
        if not numbers:
            metadata = await client._client.fetch_all_metadata()
            numbers = metadata.partitions_for_topic(name)
        if not numbers:
            raise UnknownTopicOrPartitionError(f"topic {name} does not exist; run `gyrostat topics apply`")
        return [TopicPartition(name, number) for number in sorted(numbers)]

    async def _check_caught_up(self, client: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
        for partition, end in ends.items():
            if await client.position(partition) < end:
                return
        self.caught_up.set()
        log.info("state_caught_up", topic=self._topic, records=sum(ends.values()))

    async def _one(self, record: Any) -> None:
        incoming = codec.Incoming(
            topic=self._topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            timestamp_ms=record.timestamp,
        )
        try:
            await self._until_handled(codec.decode(incoming))
        except codec.Undecodable as error:
            raise self._stopped(incoming, error) from error

    async def _until_handled(self, state: Received | Tombstone) -> None:
        tries, delay = 0, self._retries.first_s
        while True:
            tries += 1
            try:
                if isinstance(state, Tombstone):
                    await self._handle(state)
                else:
                    with processing(self._topic, "state", [state]):
                        await self._handle(state)
                return
            except Exception as error:  # whatever a handler raises is tried again or stops the reader
                kind = kind_of(error)
                if kind is AlreadyExists:
                    return
                if kind not in (Unavailable, Overloaded) and (kind is not None or tries >= self._retries.tries):
                    raise self._stopped(state, error) from error
                log.warning("state_not_handled", topic=self._topic, offset=state.offset, tries=tries, error=repr(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._retries.most_s)

    def _stopped(self, record: codec.Incoming | Received | Tombstone, error: BaseException) -> StateStopped:
        place = f"{record.topic}/{record.partition} offset {record.offset}"
        return StateStopped(f"{place} cannot be handled: {error}; repair it and restart")


@asynccontextmanager
async def reading_state(
    kafka: KafkaSettings, message: type[Message], handle: StateHandler, retries: Retries
) -> AsyncIterator[KafkaStateReader]:
    """Reads while the block does."""
    reader = KafkaStateReader(kafka, message, handle, retries)
    task = asyncio.create_task(reader.run(), name=f"read {contract.of_message(message).name}")
    try:
        yield reader
    finally:
        await ended(task)
