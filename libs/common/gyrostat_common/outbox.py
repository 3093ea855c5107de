"""State change and event leave in one transaction: `add` writes the event beside the state, the relay sends it.

The relay sends in rounds: the first waiting row of every topic and key, then the second ones, so that a row goes only
after the ack of the one before it. A row is deleted after its ack, so a crash between the two sends it again with the
same id; a relay that is closed waits for the acks under way and repeats nothing. A lease lets one relay work at a time,
whatever the number of replicas of a service.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common import database, inbox, telemetry
from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.event import Event, Producer
from gyrostat_common.clock import Clock, SystemClock
from gyrostat_common.database import Database, insert
from gyrostat_common.errors import InvalidInput, Unavailable
from gyrostat_common.ids import uuid7
from gyrostat_common.rpc import replies
from gyrostat_common.tables import leases, outbox
from gyrostat_common.tasks import ended
from gyrostat_common.times import to_us

log = telemetry.get_logger("outbox")
waiting = telemetry.gauge("gyrostat_outbox_waiting_records", "Events that wait for the relay", ("relay",))
_SYSTEM = SystemClock()

Waiting = Row[tuple[object, ...]]
Post = Callable[[Sequence[codec.Outgoing], Callable[[int], object]], Awaitable[Mapping[int, Exception]]]

AT_ONCE = 500
LEASE = timedelta(seconds=15)
IDLE_S = 1.0
CLOSE_WITHIN_S = 3.0
PRUNE_EVERY = timedelta(hours=1)


async def add(tx: AsyncConnection, event: Event) -> None:
    """Sends the event when, and only if, the transaction commits."""
    await add_all(tx, [event])


async def add_all(tx: AsyncConnection, events: Iterable[Event]) -> None:
    """The same for many, in one statement."""
    rows = [_row(event) for event in events]
    if not rows:
        return
    await tx.execute(outbox.insert(), rows)
    if (db := database.current()) is not None:
        db.after_commit(db.outbox_grew)


async def add_tombstone(tx: AsyncConnection, topic: str, key: bytes) -> None:
    """Takes the state of a key away when, and only if, the transaction commits."""
    await tx.execute(outbox.insert(), [{"topic": topic, "key": key, "headers": "[]", "value": None}])
    if (db := database.current()) is not None:
        db.after_commit(db.outbox_grew)


def _row(event: Event) -> dict[str, object]:
    record = codec.encode(event, event.traceparent or telemetry.current_traceparent())
    size, most = len(record.value or b""), contract.of_message(type(event.payload)).max_message_bytes
    if size > most:
        raise InvalidInput(f"an event of {size} bytes is too large for {record.topic}, which takes {most}")
    return {
        "topic": record.topic,
        "key": record.key,
        "partition": record.partition,
        "headers": json.dumps({name: value.decode() for name, value in record.headers}, ensure_ascii=False),
        "value": record.value,
    }


def _outgoing(row: Waiting) -> codec.Outgoing:
    headers = json.loads(row.headers)
    # Rows of before are lists of pairs.
    texts = headers.items() if isinstance(headers, dict) else headers
    return codec.Outgoing(
        topic=row.topic,
        key=row.key,
        value=row.value,
        headers=tuple([(name, text.encode()) for name, text in texts]),
        partition=row.partition,
    )


def _traceparent(record: codec.Outgoing) -> str:
    return next((value.decode() for name, value in record.headers if name == "traceparent"), "")


def _rounds(rows: Sequence[Waiting], sent: Container[int]) -> Iterator[list[Waiting]]:
    """The first row of each topic and key, then the second of those whose first was sent, and so on."""
    chains: dict[tuple[str, bytes | None], list[Waiting]] = {}
    for row in rows:
        chains.setdefault((row.topic, row.key), []).append(row)
    depth = 0
    while chains:
        yield [chain[depth] for chain in chains.values()]
        depth += 1
        chains = {k: chain for k, chain in chains.items() if len(chain) > depth and chain[depth - 1].id in sent}


class Relay:
    """Moves rows to the log. Get one from `relay`."""

    def __init__(self, db: Database, producer: Producer, name: str, clock: Clock) -> None:
        self._db, self._producer, self._name, self._clock = db, producer, name, clock
        # Opening and closing every event again costs more than all the rest; a producer on Kafka takes records as well.
        self._post: Post | None = getattr(producer, "post", None)
        self._holder = str(uuid7())
        self._woken = asyncio.Event()
        self._closing = False
        self._prune_at = clock.now()

    def wake(self) -> None:
        """There is something to send; `add` sees to it after the commit."""
        self._woken.set()

    def close(self) -> None:
        """Finish what is under way, begin nothing."""
        self._closing = True
        self._woken.set()

    async def run(self) -> None:
        """Until closed or cancelled. Sends when woken and once a second."""
        while not self._closing:
            try:
                self._woken.clear()
                while not self._closing and await self.send_some():
                    pass
                await self._prune()
            except Unavailable as error:
                log.warning("relay_interrupted", relay=self._name, error=str(error))
            except Exception as error:  # a relay that ended without a word would hold back every event
                log.error("relay_failed", relay=self._name, error=repr(error), exc_info=error)
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def send_some(self) -> int:
        """Sends up to 500 rows if the lease is ours; returns how many went."""
        async with self._db.reading() as tx:
            rows = (await tx.execute(select(outbox).order_by(outbox.c.id).limit(AT_ONCE))).all()
        waiting.labels(self._name).set(len(rows))
        if not rows or not await self._leased():
            return 0
        sent: set[int] = set()
        async with self._renewing():
            try:
                for together in _rounds(rows, sent):
                    if self._closing:
                        break
                    await self._send_round(together, sent)
            finally:
                if sent:
                    await asyncio.shield(self._forget(sorted(sent), rows))
        return len(sent)

    async def _send_round(self, rows: Sequence[Waiting], sent: set[int]) -> None:
        """Rows of different keys, side by side. An event that cannot be sent holds up its own key and no other."""
        as_stored: list[tuple[Waiting, codec.Outgoing]] = []
        async with asyncio.TaskGroup() as group:
            for row in rows:
                record = _outgoing(row)
                # Only an event of a sampled trace is opened once more, for the span of its sending.
                if self._post is None or telemetry.sampled(_traceparent(record)):
                    group.create_task(self._send_event(row, record, sent))
                else:
                    as_stored.append((row, record))
            if self._post is not None and as_stored:
                ids = [row.id for row, _ in as_stored]
                failed = await self._post([record for _, record in as_stored], lambda i: sent.add(ids[i]))
                for index, error in failed.items():
                    self._tell_not_sent(as_stored[index][0], error)

    async def _send_event(self, row: Waiting, record: codec.Outgoing, sent: set[int]) -> None:
        try:
            event = codec.decode_event(record.headers, row.key, row.value, row.topic)
            await self._producer.send(replace(event, partition=row.partition))
        except Exception as error:  # one event's fault holds up its own key only
            self._tell_not_sent(row, error)
        else:
            sent.add(row.id)

    def _tell_not_sent(self, row: Waiting, error: Exception) -> None:
        log.error("event_not_sent", relay=self._name, topic=row.topic, row=row.id, error=repr(error))

    async def _forget(self, sent: Sequence[int], rows: Sequence[Row[tuple[object, ...]]]) -> None:
        which = outbox.c.id.in_(sent)
        if len(sent) == len(rows) and self._db.is_sqlite:
            which = outbox.c.id <= rows[-1].id  # no writer can slip in below on SQLite
        async with self._db.transaction() as tx:
            await tx.execute(delete(outbox).where(which))

    # The lease

    async def _leased(self) -> bool:
        """Takes or renews the lease; False while another relay has it."""
        now = self._clock.now()
        mine = {"holder": self._holder, "expires_at_us": to_us(now + LEASE)}
        async with self._db.transaction() as tx:
            statement = insert(tx, leases).values(name=f"relay {self._name}", **mine)
            free = (leases.c.holder == self._holder) | (leases.c.expires_at_us < to_us(now))
            statement = statement.on_conflict_do_update(index_elements=["name"], set_=mine, where=free)
            return (await tx.execute(statement)).rowcount == 1

    @asynccontextmanager
    async def _renewing(self) -> AsyncIterator[None]:
        """Keeps the lease while the broker makes us wait. Losing it ends the block."""
        working = asyncio.current_task()
        assert working is not None
        lost = False

        async def renew() -> None:
            nonlocal lost
            while not lost:
                await asyncio.sleep(LEASE.total_seconds() / 3)
                if not await self._leased():
                    lost = True
                    working.cancel()

        task = asyncio.create_task(renew())
        try:
            yield
        except asyncio.CancelledError:
            if lost and working.uncancel() == 0:
                raise Unavailable(f"the lease of relay {self._name} went to another") from None
            raise
        finally:
            await ended(task)

    async def release(self) -> None:
        """Lets the next relay begin at once."""
        async with self._db.transaction() as tx:
            held = (leases.c.name == f"relay {self._name}") & (leases.c.holder == self._holder)
            await tx.execute(update(leases).where(held).values(expires_at_us=0))

    async def _prune(self) -> None:
        """The holder of the lease also forgets old inbox rows and stored replies."""
        now = self._clock.now()
        if now < self._prune_at or not await self._leased():
            return
        self._prune_at = now + PRUNE_EVERY
        async with self._db.transaction() as tx:
            await inbox.prune(tx, now)
            await replies.prune(tx, now)


async def count(tx: AsyncConnection) -> int:
    """Events that wait."""
    return int((await tx.execute(select(func.count()).select_from(outbox))).scalar_one())


@asynccontextmanager
async def relay(
    db: Database, producer: Producer, name: str, clock: Clock = _SYSTEM, close_within_s: float = CLOSE_WITHIN_S
) -> AsyncIterator[Relay]:
    """Runs a relay while the block does; what is under way at its end has so long to be acknowledged. Rows that are
    left wait in the table for the next one.
    """
    working = Relay(db, producer, name, clock)
    db.when_outbox_grew.append(working.wake)
    task = asyncio.create_task(working.run(), name=f"relay {name}")
    try:
        yield working
    finally:
        db.when_outbox_grew.remove(working.wake)
        working.close()
        await asyncio.wait({task}, timeout=close_within_s)
        await ended(task)
        await working.release()
