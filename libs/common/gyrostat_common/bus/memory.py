"""The log in memory, for tests and tools: same interface, same dispatcher, same contract suite as Kafka."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from google.protobuf.message import Message

from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.dispatch import ConsumerStopped, Dispatcher, Retries, dead_letter_of
from gyrostat_common.bus.event import Event, Held, OnHeld, Position, Received, Route, StateHandler
from gyrostat_common.bus.held import StateKeys, StateStopped
from gyrostat_common.bus.spans import sending, sent
from gyrostat_common.errors import InvalidInput
from gyrostat_common.tasks import ended

FAST = Retries(first_s=0.001, most_s=0.01, in_place_s=5.0)


class MemoryBus:
    """Holds every record until it is dropped. One event loop, no threads."""

    def __init__(self, retries: Retries = FAST) -> None:
        self._retries = retries
        self._logs: dict[str, list[list[codec.Incoming]]] = {}
        self._committed: dict[tuple[str, str, int], int] = defaultdict(int)
        self._changed = asyncio.Condition()
        self._groups: dict[str, list[_MemoryConsumer]] = defaultdict(list)

    # What a service uses

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[_MemoryProducer]:
        yield _MemoryProducer(self)

    @asynccontextmanager
    async def consume(
        self, group: str, routes: Sequence[Route], *, max_records: int = 500
    ) -> AsyncIterator[_MemoryConsumer]:
        consumer = _MemoryConsumer(self, group, routes, max_records)
        self._groups[group].append(consumer)
        task = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            consumer.dispatcher.interrupted.set()
            consumer.closing = True
            await self._notify()
            await task
            self._groups[group].remove(consumer)

    @asynccontextmanager
    async def read_state(
        self, message: type[Message], handle: StateHandler, on_held: OnHeld | None = None
    ) -> AsyncIterator[_MemoryStateReader]:
        topic = contract.of_message(message).name
        reader = _MemoryStateReader(self, topic, StateKeys(topic, handle, self._retries, on_held, time.monotonic))
        task = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            await ended(task)

    async def lag(self, group: str) -> dict[str, int]:
        topics = {topic for consumer in self._groups[group] for topic in consumer.dispatcher.routes}
        topics |= {topic for known, topic, _ in self._committed if known == group}
        return {
            topic: sum(len(log) - self._committed[group, topic, n] for n, log in enumerate(self.partitions(topic)))
            for topic in sorted(topics)
        }

    async def positions(self, groups: Sequence[str]) -> list[Position]:
        return [
            Position(group, topic, number, self._committed[group, topic, number], len(log))
            for group in groups
            for topic in sorted({*contract.heard_by(group), *await self.lag(group)})
            for number, log in enumerate(self.partitions(topic))
        ]

    # What a test looks at

    def partitions(self, topic: str) -> list[list[codec.Incoming]]:
        """The records of a topic, by partition."""
        if topic not in self._logs:
            known = contract.of_topic(topic)
            self._logs[topic] = [[] for _ in range(known.partitions if known else 1)]
        return self._logs[topic]

    def records(self, topic: str) -> list[codec.Incoming]:
        """The records of a topic, oldest first within each partition."""
        return [record for log in self.partitions(topic) for record in log]

    def events(self, message: type[Message]) -> list[Event]:
        """The events of a message so far."""
        decoded = map(codec.decode, self.records(contract.of_message(message).name))
        return [one.event for one in decoded if isinstance(one, Received)]

    async def append(self, record: codec.Outgoing) -> tuple[int, int]:
        """Any record, also a broken one."""
        logs = self.partitions(record.topic)
        partition = record.partition
        if partition is None:
            partition = zlib.crc32(record.key or b"") % len(logs)
        offset = len(logs[partition])
        logs[partition].append(
            codec.Incoming(
                topic=record.topic,
                partition=partition,
                offset=offset,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp_ms=time.time_ns() // 1_000_000,
            )
        )
        await self._notify()
        return partition, offset

    async def settled(self) -> None:
        """Returns when every running consumer has handled everything or stopped."""
        async with self._changed:
            await self._changed.wait_for(self._all_quiet)

    def _all_quiet(self) -> bool:
        return all(consumer.problem or not consumer.behind() for group in self._groups.values() for consumer in group)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _MemoryProducer:
    problem: str | None = None

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def send(self, event: Event) -> tuple[int, int]:
        topic = contract.of_message(type(event.payload))
        with sending(topic.name, event) as (span, traceparent):
            partition, offset = await self.send_record(codec.encode(event, traceparent))
            sent(span, partition, offset)
        return partition, offset

    async def send_record(self, record: codec.Outgoing) -> tuple[int, int]:
        topic = contract.of_topic(record.topic)
        if topic is not None and len(record.value or b"") > topic.max_message_bytes:
            raise InvalidInput(f"an event of {len(record.value or b'')} bytes is too large for {topic.name}")
        return await self._bus.append(record)

    async def post(self, records: Sequence[codec.Outgoing], acked: Callable[[int], object]) -> dict[int, Exception]:
        failed: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                await self.send_record(record)
            except InvalidInput as error:
                failed[index] = error
            else:
                acked(index)
        return failed


class _MemoryConsumer:
    def __init__(self, bus: MemoryBus, group: str, routes: Sequence[Route], max_records: int) -> None:
        self.problem: str | None = None
        self.closing = False
        self.dispatcher = Dispatcher(group, routes, self._dead_letter, bus._retries)
        self._bus, self._group, self._max_records = bus, group, max_records
        self._busy = False

    async def _dead_letter(self, record: codec.Incoming, error: BaseException, tries: int) -> None:
        await self._bus.append(dead_letter_of(self._group, record, error, tries))

    def _mine(self, partition: int) -> bool:
        members = self._bus._groups[self._group]
        return members[partition % len(members)] is self

    def behind(self) -> bool:
        return self._busy or any(self._waiting(topic) for topic in self.dispatcher.routes)

    def _waiting(self, topic: str) -> list[codec.Incoming]:
        records: list[codec.Incoming] = []
        for partition, log in enumerate(self._bus.partitions(topic)):
            if self._mine(partition):
                records += log[self._bus._committed[self._group, topic, partition] :]
        return records[: self._max_records]

    async def run(self) -> None:
        while not self.closing and self.problem is None:
            for topic in self.dispatcher.routes:
                if records := self._waiting(topic):
                    await self._handle(topic, records)
            async with self._bus._changed:
                await self._bus._changed.wait_for(lambda: self.closing or self.problem is not None or self.behind())

    def _commit(self, topic: str, records: list[codec.Incoming]) -> None:
        for record in records:
            self._bus._committed[self._group, topic, record.partition] = record.offset + 1

    async def _handle(self, topic: str, records: list[codec.Incoming]) -> None:
        self._busy = True
        try:
            done = await self.dispatcher.process(records)
            self._commit(topic, records[:done])
        except ConsumerStopped as stopped:
            self._commit(topic, records[: stopped.done])
            self.problem = str(stopped)
        finally:
            self._busy = False
        await self._bus._notify()


class _MemoryStateReader:
    def __init__(self, bus: MemoryBus, topic: str, keys: StateKeys) -> None:
        self.caught_up = keys.caught_up
        self._bus, self._topic, self._keys = bus, topic, keys
        self._stopped: str | None = None

    @property
    def problem(self) -> str | None:
        return self._stopped or self._keys.problem

    @property
    def held(self) -> tuple[Held, ...]:
        return self._keys.held

    async def run(self) -> None:
        seen = 0
        end = len(self._bus.records(self._topic))
        while True:
            if seen >= end and not self.caught_up.is_set():
                self._keys.now_caught_up()
            records = self._bus.records(self._topic)
            for record in records[seen:]:
                try:
                    await self._keys.take(record)
                except StateStopped as reason:
                    self._stopped = str(reason)
                    return
                seen += 1
            if seen < end or len(self._bus.records(self._topic)) > seen or not self.caught_up.is_set():
                continue
            async with self._bus._changed:
                if len(self._bus.records(self._topic)) == seen:
                    await self._bus._changed.wait()
