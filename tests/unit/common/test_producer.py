"""The producer on Kafka with a client of the test's: what it survives and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from gyrostat_common.bus import codec
from gyrostat_common.bus.producer import KafkaProducer, RecordTooLarge
from gyrostat_common.settings import KafkaSettings

RECORD = codec.Outgoing(topic="registry.dlq", key=b"k", value=b"v", headers=(("ce_id", b"1"),))


class Client:
    """Answers each send with the next outcome: an error or None for an ack."""

    def __init__(self, outcomes: list[Exception | None], start_error: Exception | None = None) -> None:
        self.outcomes, self.start_error = outcomes, start_error
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.stopped = False

    async def start(self) -> None:
        if self.start_error:
            raise self.start_error

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, **record: Any) -> Awaitable[Any]:
        self.sent.append((topic, record))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        outcome = self.outcomes.pop(0)
        if outcome is None:
            future.set_result(SimpleNamespace(partition=1, offset=42))
        else:
            future.set_exception(outcome)
        return future


def producing_with(*clients: Client, prefix: str = "") -> KafkaProducer:
    made = list(clients)
    return KafkaProducer(KafkaSettings(topic_prefix=prefix), lambda: made.pop(0))  # type: ignore[arg-type, return-value]


async def test_a_record_goes_out_whole_under_the_sites_name() -> None:
    client = Client([None])
    assert await producing_with(client, prefix="site.").send_record(RECORD) == (1, 42)
    [(topic, record)] = client.sent
    assert topic == "site.registry.dlq"
    assert record == {"key": b"k", "value": b"v", "headers": [("ce_id", b"1")], "partition": None}


async def test_after_a_lost_sequence_a_new_client_sends_the_record_again() -> None:
    broken, new = Client([OutOfOrderSequenceNumber()]), Client([None])
    producer = producing_with(broken, new)
    assert await producer.send_record(RECORD) == (1, 42)
    assert broken.stopped
    assert len(new.sent) == 1
    assert producer.problem is None


async def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    away, there = Client([], KafkaConnectionError("refused")), Client([None])
    assert await producing_with(away, there).send_record(RECORD) == (1, 42)
    assert away.stopped


async def test_a_record_that_the_broker_never_takes_is_given_back_and_the_next_goes_on() -> None:
    client = Client([MessageSizeTooLargeError(), None])
    producer = producing_with(client)
    with pytest.raises(RecordTooLarge, match="1 bytes is too large"):
        await producer.send_record(RECORD)
    await producer.send_record(RECORD)
    assert not client.stopped


async def test_many_senders_share_one_new_client() -> None:
    broken, new = Client([OutOfOrderSequenceNumber()] * 5), Client([None] * 5)
    producer = producing_with(broken, new)
    assert await asyncio.gather(*(producer.send_record(RECORD) for _ in range(5))) == [(1, 42)] * 5


async def test_closing_stops_the_client() -> None:
    client = Client([None])
    producer = producing_with(client)
    await producer.send_record(RECORD)
    await producer.close()
    assert client.stopped
