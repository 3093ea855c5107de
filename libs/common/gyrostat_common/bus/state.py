"""Reads a compacted topic: all partitions by hand, from the beginning, no group, and stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from google.protobuf.message import Message

from gyrostat_common import telemetry
from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.connection import client_options, prefixed, short
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.event import Held, OnHeld, StateHandler
from gyrostat_common.bus.held import StateKeys, StateStopped
from gyrostat_common.bus.pulse import Pulse
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.tasks import ended, within

log = telemetry.get_logger("bus.state")
CLOSE_WITHIN_S = 3.0


class KafkaStateReader:
    """Reads while its block runs. After a break it begins again: handlers see records again, oldest first."""

    def __init__(
        self,
        kafka: KafkaSettings,
        message: type[Message],
        handle: StateHandler,
        retries: Retries,
        on_held: OnHeld | None = None,
    ) -> None:
        self._kafka = kafka
        self._topic = contract.of_message(message).name
        self._keys = StateKeys(self._topic, handle, retries, on_held, time.monotonic)
        self.caught_up = self._keys.caught_up
        self.pulse = Pulse(f"state {self._topic}", retries.still_s)
        self._stopped: str | None = None

    @property
    def problem(self) -> str | None:
        """Which key is held, or why the reader has stopped."""
        return self._stopped or self._keys.problem or self.pulse.problem

    @property
    def held(self) -> tuple[Held, ...]:
        """The keys that are held now."""
        return self._keys.held

    async def run(self) -> None:
        """Until cancelled, or until far too many records cannot be handled."""
        delay = 0.1
        while True:
            try:
                await self._read()
            except StateStopped as reason:
                self._stopped = str(reason)
                log.error("state_reader_stopped", topic=self._topic, reason=self._stopped)
                return
            except (KafkaError, OSError) as error:
                log.warning("state_reader_interrupted", topic=self._topic, error=short(error))
            finally:
                self.pulse.rest()
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
            self.pulse.beat()
            await client.start()
            partitions = await self._partitions(client)
            client.assign(partitions)
            ends = await client.end_offsets(partitions)
            await client.seek_to_beginning(*partitions)
            while True:
                async with self.pulse.limited():
                    fetched = await client.getmany(timeout_ms=200)
                for records in fetched.values():
                    for record in records:
                        await self._keys.take(codec.incoming(self._topic, record))
                await self._keys.again()
                if not self.caught_up.is_set():
                    await self._check_caught_up(client, ends)
        finally:
            try:
                if not await within(CLOSE_WITHIN_S, client.stop(), f"close {self._topic}"):
                    log.warning("state_reader_not_closed", topic=self._topic, within_s=CLOSE_WITHIN_S)
            except (KafkaError, OSError) as error:
                log.warning("state_reader_not_closed", topic=self._topic, error=short(error))

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
        self._keys.now_caught_up()
        log.info("state_caught_up", topic=self._topic, records=sum(ends.values()))


@asynccontextmanager
async def reading_state(
    kafka: KafkaSettings,
    message: type[Message],
    handle: StateHandler,
    retries: Retries,
    on_held: OnHeld | None = None,
) -> AsyncIterator[KafkaStateReader]:
    """Reads while the block does."""
    reader = KafkaStateReader(kafka, message, handle, retries, on_held)
    task = asyncio.create_task(reader.run(), name=f"read {contract.of_message(message).name}")
    try:
        yield reader
    finally:
        await ended(task)
