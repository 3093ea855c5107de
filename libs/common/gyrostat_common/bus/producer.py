"""Sends to Kafka: acks=all, idempotent, zstd. Waits out a broker that is down; is built anew after a fatal error."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from gyrostat_common import telemetry
from gyrostat_common.bus import codec, contract, topics
from gyrostat_common.bus.connection import client_options, prefixed, short
from gyrostat_common.bus.event import Event
from gyrostat_common.bus.spans import sending, sent
from gyrostat_common.errors import InvalidInput, Unavailable
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.tasks import ended

log = telemetry.get_logger("bus.producer")
sent_total = telemetry.counter("gyrostat_producer_records", "Records sent and acknowledged", ("topic",))
rebuilt_total = telemetry.counter("gyrostat_producer_rebuilt", "Times the producer was built anew after an error")

Check = Callable[[KafkaSettings, Sequence[contract.TopicContract]], Awaitable[list[topics.TopicReport]]]

MAX_REQUEST_BYTES = 2 * 1024 * 1024 + 65_536
STOP_WITHIN_S = 5.0


class RecordTooLarge(InvalidInput):
    """The broker will never take the record."""


class KafkaProducer:
    """One connection to the log, shared by all that send. Get one from `producing`."""

    def __init__(
        self, kafka: KafkaSettings, make: Callable[[], AIOKafkaProducer] | None = None, check: Check = topics.check
    ) -> None:
        self._kafka, self._make, self._check = kafka, make, check
        self._fine: set[str] = set()
        self._checking: dict[str, asyncio.Task[bool]] = {}
        self._client: AIOKafkaProducer | None = None
        self._building = asyncio.Lock()
        self.problem: str | None = None
        """Why nothing can be sent at the moment, or None."""

    async def send(self, event: Event) -> tuple[int, int]:
        topic = contract.of_message(type(event.payload)).name
        with sending(topic, event) as (span, traceparent):
            partition, offset = await self.send_record(codec.encode(event, traceparent))
            sent(span, partition, offset)
        return partition, offset

    async def send_record(self, record: codec.Outgoing) -> tuple[int, int]:
        """Any record. (partition, offset) after the ack of all in-sync replicas."""
        delay = 0.1
        while True:
            client = await self._ready()
            if not await self._checked(record.topic):
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
                continue
            try:
                metadata: Any = await (await self._handed_over(client, record))
            except MessageSizeTooLargeError as error:
                size = len(record.value or b"")
                raise RecordTooLarge(f"a record of {size} bytes is too large for {record.topic}") from error
            except (KafkaError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not _closed(client):
                    raise
                await self._after(client, error, record.topic, delay)
                delay = min(delay * 2, 5.0)
                continue
            self.problem = None
            sent_total.labels(record.topic).inc()
            return metadata.partition, metadata.offset

    async def post(self, records: Sequence[codec.Outgoing], acked: Callable[[int], object]) -> dict[int, Exception]:
        """Many records of different keys, side by side. `acked(index)` is called for each that the log has; returns
        why a record will never be taken, by index. Waits while the broker is down.
        """
        client = await self._ready()
        fine = {topic for topic in {record.topic for record in records} if await self._checked(topic)}
        under_way: dict[int, asyncio.Future[object]] = {}
        try:
            for index, record in enumerate(records):
                if record.topic in fine:
                    with suppress(KafkaError):
                        under_way[index] = await self._handed_over(client, record)
            if under_way:
                await asyncio.wait(under_way.values())
        finally:
            found = {i: _error_of(one) for i, one in under_way.items() if one.done()}
            done = {i for i, error in found.items() if error is None}
            for index in done:
                acked(index)
        if done:
            self.problem = None
            for topic, count in Counter(records[index].topic for index in done).items():
                sent_total.labels(topic).inc(count)
        for index, error in found.items():
            if error is not None and not isinstance(error, MessageSizeTooLargeError):
                await self._after(client, error, records[index].topic, 0.1)
                break
        return await self._post_again({i: records[i] for i in range(len(records)) if i not in done}, acked)

    async def _post_again(
        self, records: Mapping[int, codec.Outgoing], acked: Callable[[int], object]
    ) -> dict[int, Exception]:
        """What did not go at once goes one by one, each with tries of its own."""
        failed: dict[int, Exception] = {}

        async def send(index: int, record: codec.Outgoing) -> None:
            try:
                await self.send_record(record)
            except InvalidInput as error:
                failed[index] = error
            else:
                acked(index)

        async with asyncio.TaskGroup() as group:
            for index, record in records.items():
                group.create_task(send(index, record))
        return failed

    async def _handed_over(self, client: AIOKafkaProducer, record: codec.Outgoing) -> asyncio.Future[object]:
        """The future of the record's ack."""
        future: asyncio.Future[object] = await client.send(
            prefixed(self._kafka, record.topic),
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            partition=record.partition,
        )
        return future

    async def _after(self, client: AIOKafkaProducer, error: BaseException, topic: str, delay: float) -> None:
        """Waits before the next try; a client that can go no further is put away first."""
        self.problem = f"{topic}: {short(error)}"
        log.warning("record_not_sent", topic=topic, error=short(error))
        if not isinstance(error, UnknownTopicOrPartitionError | TopicAuthorizationFailedError):
            await self._put_away(client)
        await asyncio.sleep(delay)

    async def _ready(self) -> AIOKafkaProducer:
        """The started client; waits while no broker answers."""
        delay = 0.1
        while self._client is None:
            async with self._building:
                if self._client is not None:
                    break
                client = self._made()
                try:
                    await client.start()
                    self._client, self.problem = client, None
                    log.info("producer_connected", brokers=self._kafka.bootstrap_servers)
                except (KafkaError, OSError) as error:
                    login = ", or refuses the login" if self._kafka.security_protocol.startswith("SASL") else ""
                    self.problem = f"Kafka at {self._kafka.bootstrap_servers} does not answer{login}: {short(error)}"
                    log.warning("kafka_unreachable", brokers=self._kafka.bootstrap_servers, error=short(error))
                    await _stopped(client)
                except BaseException:
                    await _stopped(client)
                    raise
            if self._client is None:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
        return self._client

    def _made(self) -> AIOKafkaProducer:
        if self._make is not None:
            return self._make()
        return AIOKafkaProducer(
            **client_options(self._kafka),
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=10,
            max_batch_size=256 * 1024,
            max_request_size=MAX_REQUEST_BYTES,
        )

    async def _checked(self, topic: str) -> bool:
        """The check of the contract before the first record of a topic. A topic that is missing or refused makes
        everybody wait, as a broker that is down does: nothing is lost and nothing lands where it must not.
        """
        if topic in self._fine or (wanted := contract.of_topic(topic)) is None:
            return True
        # A relay begins with hundreds of records at once: one of them asks, and all hear the answer.
        asked = self._checking.get(topic)
        if asked is None:
            asked = self._checking[topic] = asyncio.create_task(self._found_fine(topic, wanted), name=f"check {topic}")
            asked.add_done_callback(lambda _: self._checking.pop(topic, None))
        return await asyncio.shield(asked)

    async def _found_fine(self, topic: str, wanted: contract.TopicContract) -> bool:
        try:
            [report] = await self._check(self._kafka, [wanted])
        except Unavailable as error:
            log.warning("topic_not_checked", topic=topic, error=str(error))  # may be forbidden to us; sending will tell
            return True
        if report.refused:
            self.problem = f"topic {report.name} is refused: {'; '.join(report.remarks)}"
        elif report.state is topics.State.MISSING:
            self.problem = f"topic {report.name} does not exist; run `gyrostat topics apply`"
        else:
            self._fine.add(topic)
            return True
        log.error("topic_refused", topic=topic, reason=self.problem)
        return False

    async def _put_away(self, client: AIOKafkaProducer) -> None:
        async with self._building:
            if self._client is client:
                self._client = None
                rebuilt_total.inc()
                await _stopped(client, within_s=1.0)

    async def connect(self) -> None:
        """Connects ahead of the first record."""
        await self._ready()

    async def close(self) -> None:
        for asked in list(self._checking.values()):
            await ended(asked)
        if self._client is not None:
            client, self._client = self._client, None
            await _stopped(client)


def _error_of(done: asyncio.Future[object]) -> BaseException | None:
    return asyncio.CancelledError() if done.cancelled() else done.exception()


def _closed(client: AIOKafkaProducer) -> bool:
    return bool(getattr(client, "_closed", False))


async def _stopped(client: AIOKafkaProducer, within_s: float = STOP_WITHIN_S) -> None:
    """A stop of an idempotent producer waits for ever while the broker is down."""
    try:
        async with asyncio.timeout(within_s):
            await client.stop()
    except (TimeoutError, KafkaError, OSError):
        log.warning("producer_not_flushed")


@asynccontextmanager
async def producing(kafka: KafkaSettings) -> AsyncIterator[KafkaProducer]:
    """Connects in the background; flushes for at most 10 s at the end."""
    producer = KafkaProducer(kafka)
    connecting = asyncio.create_task(producer.connect())
    try:
        yield producer
    finally:
        await ended(connecting)
        await producer.close()
