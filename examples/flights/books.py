"""Balances the books: every flight asked about was answered once, logged once, archived once.

Three independent witnesses: the demo's own ledger, the frames in Kafka and the archive. A fourth is the inference
service's own count.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Final

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from flights import archive
from flights.policy import MODEL
from flights.replay import Ledger
from flights.services import Services
from flights.traffic import Traffic
from flights.watch import Watch
from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat_common.settings import KafkaSettings

SETTLE_S: Final = 90.0
TOPIC: Final = "prediction.logged"


@dataclass(frozen=True)
class Frames:
    """What Kafka holds: rows in distinct frames, rows in frames that came again."""

    answers: int
    shadows: int
    duplicates: int


@dataclass(frozen=True)
class Spool:
    """What the inference service says of its own logging, in rows of answers and shadows together."""

    accepted: int
    logged: int
    sampled_out: int
    waiting: int
    dropped: int
    said_us: int


@dataclass(frozen=True)
class Books:
    """The balance, in rows (one row is one flight asked about)."""

    sent: int
    answered: int
    failed: int
    logged: int
    archived: int
    shadows_logged: int
    shadows_archived: int
    lost: int
    duplicates_removed: int
    duplicates_archived: int
    altered: int
    outcomes_sent: int
    outcomes_joined: int
    spool: Spool

    @property
    def balanced(self) -> bool:
        """Sent = answered = logged = archived, nothing lost, twice or altered, and the spool agrees."""
        spool = self.spool
        ours = (
            self.sent == self.answered == self.logged == self.archived and self.shadows_logged == self.shadows_archived
        )
        clean = not (self.lost or self.duplicates_archived or self.altered or self.failed)
        theirs = (
            spool.accepted == spool.logged + spool.sampled_out + spool.waiting + spool.dropped and not spool.dropped
        )
        return ours and clean and theirs and self.outcomes_sent == self.outcomes_joined


async def settle(services: Services, folder: Path, watch: Watch, ledger: Ledger) -> float:
    """Waits until every answer is archived and every outcome joined, or nothing moves any more; returns seconds."""
    started = moved = monotonic()
    ended_us = int(time() * 1e6)
    before: tuple[int, ...] = ()
    while monotonic() - moved < SETTLE_S / 3 and monotonic() - started < SETTLE_S:
        await watch.look_at_status()
        joined, rows = int(watch.picture.status.outcomes_joined), await asyncio.to_thread(archive.count, folder)
        spool = await _spool(services)
        # The spool's books travel with a heartbeat: one from before the end says too little.
        done = spool.said_us > ended_us and rows >= spool.logged and not spool.waiting
        now = (rows, joined, spool.logged)
        if done and joined >= ledger.outcomes:
            break
        if now != before:
            moved, before = monotonic(), now
        await asyncio.sleep(0.5)
    return monotonic() - started


async def balance(
    services: Services, kafka: KafkaSettings, folder: Path, traffic: Traffic, ledger: Ledger, watch: Watch
) -> tuple[Books, archive.Archived]:
    """Counts everything once more at the source."""
    frames = await count_frames(kafka)
    archived = await asyncio.to_thread(archive.read, folder, traffic)
    spool = await _spool(services)
    answers = archived.row[archived.answer & (archived.row >= 0)]
    distinct = len(np.unique(answers))
    status = watch.picture.status
    scores = np.full(len(ledger.scores), np.nan)
    scores[answers] = archived.score[archived.answer & (archived.row >= 0)]
    both = np.isfinite(scores) & np.isfinite(ledger.scores)
    books = Books(
        sent=ledger.asked,
        answered=ledger.answered,
        failed=sum(ledger.failures.values()),
        logged=frames.answers,
        archived=distinct,
        shadows_logged=frames.shadows,
        shadows_archived=int((~archived.answer).sum()),
        lost=ledger.answered - distinct,
        duplicates_removed=frames.duplicates,
        duplicates_archived=len(answers) - distinct,
        altered=int((np.abs(scores[both] - ledger.scores[both]) > 0).sum()),
        outcomes_sent=ledger.outcomes,
        outcomes_joined=int(status.outcomes_joined),
        spool=spool,
    )
    return books, archived


async def _spool(services: Services) -> Spool:
    reply = await services.registry.ListReplicas(registry_pb2.ListReplicasRequest())
    latest = {book.spool_id: book for replica in reply.replicas for book in replica.books}.values()
    return Spool(
        sum(book.accepted for book in latest),
        sum(book.logged for book in latest),
        sum(book.sampled_out for book in latest),
        sum(book.waiting for book in latest),
        sum(sum(book.dropped.values()) for book in latest),
        min((replica.at.ToMicroseconds() for replica in reply.replicas), default=0),
    )


async def count_frames(kafka: KafkaSettings) -> Frames:
    """Reads the whole topic once and counts rows by role; a (stream, frame number) seen before is a duplicate."""
    seen: set[tuple[str, int]] = set()
    counts = {events_pb2.ROLE_ANSWER: 0, events_pb2.ROLE_SHADOW: 0}
    duplicates = 0
    topic = kafka.topic_prefix + TOPIC
    partitions = [TopicPartition(topic, number) for number in await _partitions(kafka, topic)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, max_partition_fetch_bytes=8 << 20)
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in records:
                    frame = events_pb2.PredictionLogged.FromString(record.value)
                    if frame.model != MODEL:
                        continue
                    key = (frame.stream, frame.frame_no)
                    if key in seen:
                        duplicates += frame.rows
                    else:
                        seen.add(key)
                        counts[frame.role] += frame.rows
    finally:
        await consumer.stop()
    return Frames(counts[events_pb2.ROLE_ANSWER], counts[events_pb2.ROLE_SHADOW], duplicates)


async def _partitions(kafka: KafkaSettings, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        described = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return [partition["partition"] for partition in described[0]["partitions"]]
