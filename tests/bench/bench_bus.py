"""Events a second through our side of the log, on a real broker: the figures of docs/common.md.

`.venv/bin/python tests/bench/bench_bus.py [--runs 3] [--cpus 0,1] [--events 5000]`. A second is one of this process's
CPU: what others on the machine take does not count. The ceiling is the bare Kafka client sending the same bytes, or
reading them. Asserts nothing.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, database, inbox, outbox
from gyrostat_common.bus import codec, topics
from gyrostat_common.database import Database
from gyrostat_common.settings import KafkaSettings
from support.events import an_outcome
from support.kafka import Broker
from support.measuring import Figure, arguments, begin, repeated_async

OUTCOME = events_pb2.OutcomeRecorded
AT_ONCE = 500


def events(count: int) -> list[bus.Event]:
    """Outcomes with ids of their own."""
    return [an_outcome(f"prediction-{n}", id=str(uuid.uuid4())) for n in range(count)]


def rate(count: int, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    """Events a second of one run, of this process's CPU."""

    async def once() -> float:
        began = time.process_time()
        await work()
        return count / (time.process_time() - began)

    return once


async def bare_client(kafka: KafkaSettings, count: int, runs: int) -> tuple[Figure, Figure]:
    """The ceiling: aiokafka alone, with the bytes that our events have."""
    topic, ready = f"bench-{uuid.uuid4().hex[:8]}", [codec.encode(event) for event in events(count)]
    await topics.apply(kafka.model_copy(update={"topic_prefix": f"{topic}."}))
    name = f"{topic}.outcome.recorded"
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all", linger_ms=5) as producer:

        async def send() -> None:
            sent = [await producer.send(name, one.value, one.key) for one in ready]
            await asyncio.gather(*sent)

        sending = await repeated_async("sent by the bare client", "a CPU s", runs, rate(count, send))

    async def read() -> None:
        options = {"bootstrap_servers": kafka.bootstrap_servers, "auto_offset_reset": "earliest"}
        async with AIOKafkaConsumer(name, group_id=uuid.uuid4().hex, **options) as consumer:
            left = count
            while left > 0:
                found = await consumer.getmany(timeout_ms=1000)
                left -= sum(len(records) for records in found.values())

    return sending, await repeated_async("read by the bare client", "a CPU s", runs, rate(count, read))


async def straight(log: bus.Bus, count: int, runs: int) -> Figure:
    """`producer.send`, many at once."""
    async with log.producer() as producer:

        async def send() -> None:
            await asyncio.gather(*(producer.send(event) for event in events(count)))

        return await repeated_async("straight into Kafka", "a CPU s", runs, rate(count, send))


async def through_outbox(log: bus.Bus, db: Database, count: int, runs: int) -> Figure:
    """Added in transactions of 500, gone when the relay has forgotten the last."""
    async with log.producer() as producer, outbox.relay(db, producer, "bench"):

        async def send() -> None:
            every = events(count)
            for start in range(0, count, AT_ONCE):
                async with db.transaction() as tx:
                    await outbox.add_all(tx, every[start : start + AT_ONCE])
            while await waiting(db):  # noqa: ASYNC110 - the outbox is a table, nobody sets an event
                await asyncio.sleep(0.01)

        return await repeated_async("through outbox and relay", "a CPU s", runs, rate(count, send))


async def waiting(db: Database) -> int:
    """Rows of the outbox."""
    async with db.reading() as tx:
        return await outbox.count(tx)


async def consumed(log: bus.Bus, db: Database, count: int, runs: int) -> Figure:
    """Everything that lies there, in batches, with dedup in the database."""

    async def read() -> None:
        left, done = count, asyncio.Event()

        async def take(batch: Sequence[bus.Received]) -> None:
            nonlocal left
            async with db.transaction() as tx:
                await inbox.first_times(tx, batch)
            left -= len(batch)
            if left <= 0:
                done.set()

        async with log.consume(f"bench-{uuid.uuid4().hex[:8]}", [bus.Route(OUTCOME, handle_batch=take)]):
            await done.wait()

    return await repeated_async("consumed with dedup in SQLite", "a CPU s", runs, rate(count, read))


async def transactions(db: Database, runs: int) -> Figure:
    """A small write, committed to the disk."""

    async def write() -> float:
        began = time.perf_counter()
        for _ in range(100):
            async with db.transaction() as tx:
                await tx.execute(text("UPDATE outbox SET id = id WHERE id = -1"))
        return (time.perf_counter() - began) * 10

    return await repeated_async("a small SQLite transaction", "ms", runs, write)


async def measure(kafka: KafkaSettings, folder: Path, count: int, runs: int) -> None:
    """Print the figures."""
    sending, reading = await bare_client(kafka, count, runs)
    print(sending.line(), reading.line(), sep="\n")
    own = kafka.model_copy(update={"topic_prefix": "bench."})
    await topics.apply(own)
    async with database.open(f"sqlite+aiosqlite:///{folder}/bench.db") as db, bus.open(own) as log:
        print((await straight(log, count, runs)).line(sending))
        print((await through_outbox(log, db, count, runs)).line(sending))
        print((await consumed(log, db, count, runs)).line(reading))
        print((await transactions(db, runs)).line())


def main() -> None:
    """Run the command line."""
    parser = arguments(__doc__, runs=3)
    parser.add_argument("--events", type=int, default=5000)
    given = parser.parse_args()
    begin("The bus", given.cpus)
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(broker.settings, Path(folder), given.events, given.runs))
        finally:
            broker.kill()


if __name__ == "__main__":
    main()
