"""What outbox, inbox and their relay promise, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, inbox, outbox, tables, telemetry
from gyrostat_common.bus import codec
from gyrostat_common.clock import FixedClock
from gyrostat_common.database import Database
from gyrostat_common.errors import Unavailable
from support.events import NOON, Heard, a_plan, a_promotion, an_outcome
from support.transactions import failing
from support.waiting import eventually

PLAN, OUTCOME, PROMOTED = events_pb2.ServingPlan, events_pb2.OutcomeRecorded, events_pb2.ModelPromoted


class Sending:
    """A producer into a bus in memory that can hold, lose or refuse an ack."""

    def __init__(self, log: bus.MemoryBus) -> None:
        self._log = log
        self.open = asyncio.Event()
        self.open.set()
        self.lose_ack_of: set[str] = set()
        self.never: set[str] = set()
        self.begun = 0
        self.sent: list[bus.Event] = []

    async def send(self, event: bus.Event) -> tuple[int, int]:
        self.begun += 1
        await self.open.wait()
        if event.id in self.never:
            raise Unavailable("the topic is missing")
        self.sent.append(event)
        async with self._log.producer() as producer:
            place = await producer.send(event)
        if event.id in self.lose_ack_of:
            self.lose_ack_of.remove(event.id)
            raise Unavailable("the ack was lost")
        return place


class Posting(Sending):
    """The same with a way for records as they lie, as the producer on Kafka has it."""

    async def post(self, records: Sequence[codec.Outgoing], acked: Callable[[int], object]) -> dict[int, Exception]:
        failed: dict[int, Exception] = {}

        async def one(index: int, record: codec.Outgoing) -> None:
            try:
                await self.send(codec.decode_event(record.headers, record.key, record.value or b"", record.topic))
            except Unavailable as error:
                failed[index] = error
            else:
                acked(index)

        await asyncio.gather(*(one(index, record) for index, record in enumerate(records)))
        return failed


both_ways = pytest.mark.parametrize("sending", [Sending, Posting], ids=["by-event", "by-record"])


@pytest.fixture
def log() -> bus.MemoryBus:
    return bus.MemoryBus()


async def waiting(db: Database) -> int:
    async with db.reading() as tx:
        return await outbox.count(tx)


async def until_empty(db: Database) -> None:
    async def is_empty() -> bool:
        return not await waiting(db)

    await eventually(is_empty)


async def put(db: Database, *events: bus.Event) -> None:
    async with db.transaction() as tx:
        await outbox.add_all(tx, events)


async def test_an_event_leaves_after_the_commit_just_as_it_was(db: Database, log: bus.MemoryBus) -> None:
    event = a_promotion(3, correlation_id="loop", causation_id="parent", partition=0)
    async with outbox.relay(db, Sending(log), "registry"):
        async with db.transaction() as tx:
            await outbox.add(tx, event)
            assert log.events(PROMOTED) == []
        await until_empty(db)
    [sent] = log.events(PROMOTED)
    assert sent.id == event.id
    assert (sent.payload, sent.key, sent.subject, sent.source, sent.time, sent.correlation_id, sent.causation_id) == (
        event.payload,
        event.key,
        event.subject,
        event.source,
        event.time,
        "loop",
        "parent",
    )


async def test_a_rolled_back_event_never_leaves(db: Database, log: bus.MemoryBus) -> None:
    async with outbox.relay(db, Sending(log), "registry"):
        async with failing(db) as tx:
            await outbox.add(tx, a_promotion(1))
        await put(db, a_promotion(2))
        await until_empty(db)
    assert [event.payload.version_after for event in log.events(PROMOTED)] == [2]


@both_ways
async def test_events_of_a_key_leave_one_after_the_other(
    db: Database, log: bus.MemoryBus, sending: type[Sending]
) -> None:
    producer = sending(log)
    plans = [a_plan(revision) for revision in range(1, 30)]
    producer.lose_ack_of = {plans[4].id, plans[11].id}
    await put(db, *plans)
    async with outbox.relay(db, producer, "registry"):
        await until_empty(db)
    revisions = [event.payload.revision for event in log.events(PLAN)]
    # A lost ack repeats the event; none is sent before the one ahead of it is acknowledged.
    assert list(dict.fromkeys(revisions)) == list(range(1, 30))
    assert revisions == sorted(revisions)
    assert len(revisions) == 31


async def test_the_next_relay_sends_what_the_last_one_left(db: Database, log: bus.MemoryBus) -> None:
    stuck = Sending(log)
    stuck.open.clear()
    await put(db, *(an_outcome(f"p{n}") for n in range(3)))
    async with outbox.relay(db, stuck, "monitor", close_within_s=0):
        await eventually(lambda: leased(db))
    assert await waiting(db) == 3
    async with outbox.relay(db, Sending(log), "monitor"):
        await until_empty(db)
    assert len(log.events(OUTCOME)) == 3


@both_ways
async def test_a_relay_that_is_closed_hears_the_acks_under_way_and_nothing_is_repeated(
    db: Database, log: bus.MemoryBus, sending: type[Sending]
) -> None:
    slow = sending(log)
    slow.open.clear()
    plans, outcomes = [a_plan(1), a_plan(2)], [an_outcome(f"p{n}") for n in range(600)]
    await put(db, *plans, *outcomes)
    closing = asyncio.Event()

    async def running() -> None:
        async with outbox.relay(db, slow, "monitor", close_within_s=60):
            await closing.wait()

    task = asyncio.create_task(running())
    await eventually(lambda: slow.begun == 499)  # of a batch of 500, all but the second record of one key
    closing.set()
    for _ in range(20):  # turns of the loop in which a relay that hangs up would do so
        await asyncio.sleep(0)
    slow.open.set()
    await task
    assert len(slow.sent) == 499
    assert await waiting(db) == 103
    async with outbox.relay(db, Sending(log), "monitor"):
        await until_empty(db)
    assert sorted(event.id for event in log.events(OUTCOME)) == sorted(event.id for event in outcomes)
    assert [event.id for event in log.events(PLAN)] == [event.id for event in plans]


@both_ways
async def test_an_event_that_cannot_be_sent_holds_up_its_own_key_alone(
    db: Database, log: bus.MemoryBus, sending: type[Sending]
) -> None:
    producer = sending(log)
    plans, others = [a_plan(1), a_plan(2)], [a_promotion(n) for n in (1, 2, 3)]
    producer.never = {plans[0].id}
    await put(db, *plans, *others)
    async with outbox.relay(db, producer, "registry"):
        await eventually(lambda: len(log.events(PROMOTED)) == 3)
        assert log.events(PLAN) == []
        producer.never.clear()
        await until_empty(db)
    assert [event.id for event in log.events(PLAN)] == [event.id for event in plans]


async def test_a_tombstone_leaves_like_any_other_record(db: Database, log: bus.MemoryBus) -> None:
    async with db.transaction() as tx:
        await outbox.add(tx, a_plan(1))
        await outbox.add_tombstone(tx, "serving.plan", b"\xff somebody")
    async with log.producer() as producer, outbox.relay(db, producer, "registry"):
        await until_empty(db)
    assert [(record.key, record.value is None) for record in log.records("serving.plan")][1:] == [
        (b"\xff somebody", True)
    ]


async def test_rows_of_before_are_sent_with_all_their_headers(db: Database, log: bus.MemoryBus) -> None:
    event = a_promotion(1, correlation_id="loop")
    await put(db, event)
    async with db.transaction() as tx:
        headers = json.loads((await tx.execute(select(tables.outbox.c.headers))).scalar_one())
        await tx.execute(update(tables.outbox).values(headers=json.dumps(list(headers.items()))))
    async with outbox.relay(db, Sending(log), "registry"):
        await until_empty(db)
    assert [(sent.id, sent.correlation_id) for sent in log.events(PROMOTED)] == [(event.id, "loop")]


async def test_an_event_sent_but_not_marked_is_sent_again_and_recognised(db: Database, log: bus.MemoryBus) -> None:
    event = a_promotion(1)
    producer = Sending(log)
    producer.lose_ack_of = {event.id}  # as after a kill between the ack and the mark
    effects = []

    async def effect(received: bus.Received) -> None:
        async with db.transaction() as tx:
            if await inbox.first_time(tx, received):
                effects.append(received.event.id)

    await put(db, event)
    async with outbox.relay(db, producer, "registry"), log.consume("trainer", [bus.Route(PROMOTED, effect)]):
        await until_empty(db)
        await log.settled()
    assert len(log.events(PROMOTED)) == 2
    assert effects == [event.id]


async def test_only_one_relay_works_at_a_time(db: Database, log: bus.MemoryBus) -> None:
    clock = FixedClock(NOON)
    first, second = Sending(log), Sending(log)
    first.open.clear()
    async with outbox.relay(db, first, "registry", clock=clock, close_within_s=0):
        await put(db, a_plan(1))
        await eventually(lambda: leased(db))
        other = outbox.Relay(db, second, "registry", clock)
        assert await other.send_some() == 0
        assert second.sent == []
        clock.advance(outbox.LEASE + timedelta(seconds=1))  # the first has died without a word
        assert await other.send_some() == 1
    assert [event.payload.revision for event in second.sent] == [1]


async def leased(db: Database) -> bool:
    from sqlalchemy import select

    from gyrostat_common.tables import leases

    async with db.reading() as tx:
        return (await tx.execute(select(leases))).first() is not None


async def test_an_event_carries_the_trace_it_was_made_in(db: Database, log: bus.MemoryBus) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-00"
    async with outbox.relay(db, Sending(log), "registry"):
        with telemetry.span("call", traceparent=traceparent):
            await put(db, a_promotion(1))
        await until_empty(db)
    assert log.events(PROMOTED)[0].traceparent == traceparent


async def test_thousands_of_events_leave_quickly(db: Database, log: bus.MemoryBus) -> None:
    async with outbox.relay(db, Sending(log), "monitor"):
        await put(db, *(an_outcome(f"p{n}") for n in range(3000)))
        await until_empty(db)
    assert len({event.id for event in log.events(OUTCOME)}) == len(log.events(OUTCOME)) == 3000


def received(event: bus.Event) -> bus.Received:
    return bus.Received(event=event, topic="model.promoted", partition=0, offset=0, timestamp_ms=0)


async def test_an_event_is_new_once_per_source_and_id(db: Database) -> None:
    one = received(a_promotion(1, id="x"))
    other = received(a_promotion(1, id="x", source="another"))
    async with db.transaction() as tx:
        assert await inbox.first_time(tx, one)
        assert not await inbox.first_time(tx, one)
        assert await inbox.first_time(tx, other)


async def test_a_batch_is_cut_down_to_what_is_new(db: Database) -> None:
    events = [received(a_promotion(n, id=f"{n}")) for n in range(1000)]
    async with db.transaction() as tx:
        assert len(await inbox.first_times(tx, events[:500])) == 500
        new = await inbox.first_times(tx, [*events, *events[900:]])
    assert [one.event.id for one in new] == [str(n) for n in range(500, 1000)]


async def test_what_was_rolled_back_is_new_again(db: Database) -> None:
    one = received(a_promotion(1))
    async with failing(db) as tx:
        assert await inbox.first_time(tx, one)
    async with db.transaction() as tx:
        assert await inbox.first_time(tx, one)


async def test_old_ids_are_forgotten(db: Database, log: bus.MemoryBus) -> None:
    clock = FixedClock(NOON)
    old, young = received(a_promotion(1, id="old")), received(a_promotion(1, id="young"))
    async with db.transaction() as tx:
        await inbox.first_time(tx, old, clock)
        clock.advance(timedelta(days=5))
        await inbox.first_time(tx, young, clock)
        clock.advance(timedelta(days=3))
        await inbox.prune(tx, clock.now())
        assert not await inbox.first_time(tx, young, clock)
        assert await inbox.first_time(tx, old, clock)


async def test_the_heard_effect_is_kept_when_the_handler_is_repeated(db: Database, log: bus.MemoryBus) -> None:
    heard = Heard()
    await put(db, a_promotion(1), a_promotion(2))
    async with outbox.relay(db, Sending(log), "registry"), log.consume("trainer", [bus.Route(PROMOTED, heard.one)]):
        await heard.until(2)
    assert [payload.version_after for payload in heard.payloads] == [1, 2]
