"""The consumer loop on Kafka. The rule: one lock around handling and commit, and a rebalance takes the same lock, so
that a partition is never taken away in the middle of a batch. Commit comes last.

The fetch is outside of the lock: a fetch that a rebalance overtakes returns only with the new assignment, and the
rebalance waits for the lock. Between the records and the lock no other task has a turn, so that no batch slips through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from gyrostat_common import telemetry
from gyrostat_common.bus import codec, contract, topics
from gyrostat_common.bus.connection import client_options, prefixed, short, unprefixed
from gyrostat_common.bus.dispatch import ConsumerStopped, Dispatcher, Retries, dead_letter_of
from gyrostat_common.bus.event import Route
from gyrostat_common.bus.producer import KafkaProducer
from gyrostat_common.bus.pulse import Pulse
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.tasks import ended, within

log = telemetry.get_logger("bus.consumer")
lag_seconds = telemetry.gauge(
    "gyrostat_consumer_lag_seconds", "Age of the newest handled record while newer ones wait", ("group", "topic")
)
lag_records = telemetry.gauge("gyrostat_consumer_lag_records", "Records not handled yet", ("group", "topic"))
gaps_total = telemetry.counter(
    "gyrostat_consumer_gap_records", "Records that retention took before they were read", ("group", "topic")
)
stopped = telemetry.gauge("gyrostat_consumer_stopped", "1 when the consumer has stopped for good", ("group",))

FETCH_MS = 200
# At the close. All of a process's consumers must fit in the 30 s that it has.
FETCH_WITHIN_S, BATCH_WITHIN_S, COMMIT_AT_CLOSE_S, LEAVE_WITHIN_S, END_WITHIN_S = 1.0, 12.0, 3.0, 3.0, 5.0
_NOT_OURS_ANY_MORE = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, RebalanceInProgressError)


class KafkaConsumer:
    """One member of a group. Get one from `consuming`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        routes: Sequence[Route],
        producer: KafkaProducer,
        retries: Retries,
        max_records: int,
    ) -> None:
        self.pulse = Pulse(group, retries.still_s)
        self._stopped_for: str | None = None
        self.dispatcher = Dispatcher(group, routes, self._dead_letter, retries)
        self._kafka, self._group, self._producer, self._max_records = kafka, group, producer, max_records
        self._lock = asyncio.Lock()
        self._closed = asyncio.Event()
        self._expected: dict[TopicPartition, int] = {}

    @property
    def problem(self) -> str | None:
        """Why it has stopped for good, or that it stands still."""
        return self._stopped_for or self.pulse.problem

    @property
    def in_hand(self) -> bool:
        """Whether records are being handled just now."""
        return self._lock.locked()

    async def _dead_letter(self, record: codec.Incoming, error: BaseException, tries: int) -> None:
        await self._producer.send_record(dead_letter_of(self._group, record, error, tries))

    def close(self) -> None:
        """Finish the batch in hand, commit, leave."""
        self._closed.set()
        self.dispatcher.interrupted.set()

    async def run(self) -> None:
        """Until closed or stopped for good. Any trouble with Kafka: begin again with a new client."""
        delay = 0.1
        while not self._closed.is_set():
            try:
                await self._connected()
                return
            except ConsumerStopped as reason:
                self._stopped_for = str(reason)
                stopped.labels(self._group).set(1)
                log.error("consumer_stopped", group=self._group, reason=self._stopped_for)
                return
            except (KafkaError, OSError) as error:
                log.warning("consumer_interrupted", group=self._group, error=short(error))
            except Exception as error:  # a consumer that ended without a word would be deaf for good
                log.error("consumer_failed", group=self._group, error=repr(error), exc_info=error)
            finally:
                self.pulse.rest()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._closed.wait()
            delay = min(delay * 2, 5.0)

    async def _connected(self) -> None:
        names = list(self.dispatcher.routes)
        await topics.ready_to_consume(self._kafka, self._group, names)
        client = AIOKafkaConsumer(
            **client_options(self._kafka),
            group_id=prefixed(self._kafka, self._group),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=100,
            session_timeout_ms=15_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
        )
        client.subscribe([prefixed(self._kafka, name) for name in names], listener=_Listener(self, client))
        try:
            self.pulse.beat()
            async with self.pulse.limited():
                await client.start()
            log.info("consumer_connected", group=self._group, topics=names)
            while not self._closed.is_set():
                await self.read_once(client)
                await asyncio.sleep(0)  # lets a waiting rebalance have the lock
        finally:
            await _stopped(client, self._group)

    async def read_once(self, client: AIOKafkaConsumer) -> None:
        """Fetches what there is, handles it, commits. A rebalance waits for the handling, never for the fetch."""
        async with self.pulse.limited():
            fetched = await client.getmany(timeout_ms=FETCH_MS, max_records=self._max_records)
        if not fetched:
            self._measure(client, {})
            return
        async with self._lock:
            await self._handle_fetched(client, fetched)

    async def _handle_fetched(self, client: AIOKafkaConsumer, fetched: dict[TopicPartition, list[Any]]) -> None:
        by_topic: dict[str, list[codec.Incoming]] = {}
        for partition, records in fetched.items():
            await self._tell_gap(client, partition, records[0].offset)
            name = unprefixed(self._kafka, partition.topic)
            by_topic.setdefault(name, []).extend(codec.incoming(name, record) for record in records)
        for name, records in by_topic.items():
            done = await self._handle(client, records)
            await self._commit(client, records[:done])
            if done < len(records):
                self._give_back(client, records[done:])
            elif not self.dispatcher.interrupted.is_set():
                continue
            self._give_back(client, [one for other in _after(by_topic, name) for one in by_topic[other]])
            break
        newest = {name: records[-1].timestamp_ms for name, records in by_topic.items()}
        self._measure(client, newest)

    async def _handle(self, client: AIOKafkaConsumer, records: list[codec.Incoming]) -> int:
        try:
            return await self.dispatcher.process(records)
        except ConsumerStopped as reason:
            await self._commit(client, records[: reason.done])
            raise
        except BaseException:
            self._give_back(client, records)
            raise

    def _give_back(self, client: AIOKafkaConsumer, records: Sequence[codec.Incoming]) -> None:
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(prefixed(self._kafka, record.topic), record.partition), record.offset)
        for partition, offset in first.items():
            if partition in client.assignment():
                client.seek(partition, offset)
                self._expected[partition] = offset

    async def _commit(self, client: AIOKafkaConsumer, records: Sequence[codec.Incoming]) -> None:
        if not records:
            return
        offsets = {
            TopicPartition(prefixed(self._kafka, record.topic), record.partition): record.offset + 1
            for record in records
        }
        self._expected.update(offsets)
        try:
            if not await commit_unless_closed(client, offsets, self._closed):
                log.warning("commit_given_up", group=self._group, within_s=COMMIT_AT_CLOSE_S)
        except _NOT_OURS_ANY_MORE as error:
            # Another member has the partition and reads these again; their effects are recognised.
            log.warning("commit_refused", group=self._group, error=short(error))

    async def _tell_gap(self, client: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        expected = self._expected.get(partition)
        if expected is None or offset <= expected:
            return
        known = contract.of_topic(unprefixed(self._kafka, partition.topic))
        if known is None or known.compacted:
            return
        earliest = (await client.beginning_offsets([partition]))[partition]
        if earliest > expected:
            self.gap(partition, earliest - expected, expected, earliest)

    def gap(self, partition: TopicPartition, missing: int, expected: int, earliest: int) -> None:
        """Says that records are gone; reading goes on at the earliest."""
        name = unprefixed(self._kafka, partition.topic)
        gaps_total.labels(self._group, name).inc(missing)
        log.error(
            "gap",
            group=self._group,
            topic=name,
            partition=partition.partition,
            records=missing,
            expected_offset=expected,
            earliest_offset=earliest,
            detail="retention took records before this group read them",
        )

    def _measure(self, client: AIOKafkaConsumer, newest: dict[str, int]) -> None:
        waiting: dict[str, int] = dict.fromkeys(self.dispatcher.routes, 0)
        for partition in client.assignment():
            end, at = client.highwater(partition), self._expected.get(partition)
            if end is not None and at is not None:
                waiting[unprefixed(self._kafka, partition.topic)] += max(0, end - at)
        for name, count in waiting.items():
            lag_records.labels(self._group, name).set(count)
            if not count:
                lag_seconds.labels(self._group, name).set(0)
            elif name in newest:
                lag_seconds.labels(self._group, name).set(max(0.0, time.time() - newest[name] / 1000))

    # Called by the rebalance listener

    async def give_up_partitions(self) -> None:
        """Returns when no batch is in hand."""
        if not self._closed.is_set():
            self.dispatcher.interrupted.set()
        async with self._lock:
            if not self._closed.is_set():
                self.dispatcher.interrupted.clear()
            self._expected.clear()

    async def take_partitions(self, client: AIOKafkaConsumer, assigned: Collection[TopicPartition]) -> None:
        """Where reading goes on, and whether retention has overtaken us."""
        committed = {}
        for partition in assigned:
            offset = await client.committed(partition)
            if offset is not None:
                committed[partition] = offset
        if not committed:
            return
        beginnings = await client.beginning_offsets(list(committed))
        for partition, offset in committed.items():
            self._expected[partition] = max(offset, beginnings[partition])
            if beginnings[partition] > offset:
                self.gap(partition, beginnings[partition] - offset, offset, beginnings[partition])


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: KafkaConsumer, client: AIOKafkaConsumer) -> None:
        self._consumer, self._client = consumer, client

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._consumer.give_up_partitions()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        try:
            await self._consumer.take_partitions(self._client, assigned)
        except KafkaError as error:
            log.warning("gap_not_checked", error=short(error))


def _after(by_topic: dict[str, Any], name: str) -> list[str]:
    names = list(by_topic)
    return names[names.index(name) + 1 :]


async def commit_unless_closed(
    client: AIOKafkaConsumer,
    offsets: dict[TopicPartition, int],
    closed: asyncio.Event,
    within_s: float = COMMIT_AT_CLOSE_S,
) -> bool:
    """Commits; once `closed` is set, for so long at most: the client looks for a coordinator that is gone without end.
    False: given up. The next process then reads the batch again and recognises its effects.
    """
    sending = asyncio.create_task(client.commit(offsets), name="commit")
    closing = asyncio.create_task(closed.wait())
    try:
        await asyncio.wait({sending, closing}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({sending}, timeout=within_s)
        if sending.done():
            sending.result()
        return sending.done()
    finally:
        closing.cancel()
        if not sending.done():
            await ended(sending, within_s=within_s)


async def _stopped(client: AIOKafkaConsumer, group: str) -> None:
    """Leaves the group if the broker lets us; one that is gone takes us off the list by itself."""
    try:
        if not await within(LEAVE_WITHIN_S, client.stop(), f"leave {group}"):
            log.warning("consumer_not_stopped", group=group, within_s=LEAVE_WITHIN_S)
    except (KafkaError, OSError) as error:
        log.warning("consumer_not_stopped", group=group, error=short(error))


@asynccontextmanager
async def consuming(
    kafka: KafkaSettings, group: str, routes: Sequence[Route], *, retries: Retries, max_records: int
) -> AsyncIterator[KafkaConsumer]:
    """Runs while the block does; finishes its batch, commits and leaves at the end."""
    producer = KafkaProducer(kafka)  # for dead letters only: connects with the first
    consumer = KafkaConsumer(kafka, group, routes, producer, retries, max_records)
    stopped.labels(group).set(0)
    task = asyncio.create_task(consumer.run(), name=f"consume {group}")
    try:
        yield consumer
    finally:
        consumer.close()
        # A batch in hand is finished. A fetch holds nothing, and may wait for a broker that is gone.
        done, _ = await asyncio.wait({task}, timeout=FETCH_WITHIN_S)
        if not done and consumer.in_hand:
            done, _ = await asyncio.wait({task}, timeout=BATCH_WITHIN_S)
        if not done:
            log.warning("batch_given_up" if consumer.in_hand else "fetch_given_up", group=group)
            await ended(task, within_s=END_WITHIN_S)
        await producer.close()
