"""The producer on Kafka with a client of the test's: what it survives and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.producer import KafkaProducer, RecordTooLarge
from gyrostat_common.bus.topics import State, TopicReport
from gyrostat_common.settings import KafkaSettings
from support.waiting import eventually

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


async def test_records_that_are_posted_go_side_by_side_and_what_fails_goes_again_by_itself() -> None:
    broken, new = Client([None, OutOfOrderSequenceNumber(), None]), Client([None])
    acked: list[int] = []
    failed = await producing_with(broken, new).post([RECORD] * 3, acked.append)
    assert (sorted(acked), failed) == ([0, 1, 2], {})
    assert (len(broken.sent), len(new.sent)) == (3, 1)


async def test_what_is_posted_and_never_taken_is_told_by_its_place() -> None:
    client = Client([None, MessageSizeTooLargeError(), None, MessageSizeTooLargeError()])
    acked: list[int] = []
    failed = await producing_with(client).post([RECORD] * 3, acked.append)
    assert sorted(acked) == [0, 2]
    assert [(index, str(error)) for index, error in failed.items()] == [
        (1, "a record of 1 bytes is too large for registry.dlq")
    ]


async def test_who_hangs_up_on_a_post_has_heard_every_ack_that_came() -> None:
    client = Client([None, None])
    waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    acked: list[int] = []

    async def third_never_answers(topic: str, **record: Any) -> Awaitable[Any]:
        return waiting if len(client.sent) == 2 else await Client.send(client, topic, **record)

    client.send = third_never_answers  # type: ignore[method-assign]
    posting = asyncio.create_task(producing_with(client).post([RECORD] * 3, acked.append))
    await eventually(lambda: len(client.sent) == 2)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    assert acked == [0, 1]


class Cluster:
    """Answers checks of topics with the next state; `open` holds the answers back."""

    def __init__(self, *states: State) -> None:
        self.states = list(states)
        self.asked: list[str] = []
        self.open = asyncio.Event()

    async def check(self, kafka: KafkaSettings, wanted: Sequence[contract.TopicContract]) -> list[TopicReport]:
        self.asked += [topic.name for topic in wanted]
        await self.open.wait()
        state = self.states.pop(0)
        return [TopicReport(topic, topic.name, state, topic.partitions, 1, {}) for topic in wanted]


def outcome(n: int) -> codec.Outgoing:
    return codec.Outgoing(topic="outcome.recorded", key=f"{n}".encode(), value=b"v", headers=())


@pytest.mark.parametrize("states", [[State.FINE], [State.MISSING, State.FINE]], ids=["fine", "made-meanwhile"])
async def test_hundreds_of_first_records_ask_once_how_their_topic_stands(states: list[State]) -> None:
    cluster, client = Cluster(*states), Client([None] * 500)
    producer = KafkaProducer(KafkaSettings(), lambda: client, cluster.check)  # type: ignore[arg-type, return-value]
    sending = [asyncio.create_task(producer.send_record(outcome(n))) for n in range(500)]
    cluster.open.set()
    await asyncio.gather(*sending)
    assert cluster.asked == ["outcome.recorded"] * len(states)
    assert len(client.sent) == 500


async def test_a_sender_that_hangs_up_takes_the_answer_from_nobody() -> None:
    cluster, client = Cluster(State.FINE), Client([None])
    producer = KafkaProducer(KafkaSettings(), lambda: client, cluster.check)  # type: ignore[arg-type, return-value]
    first, second = (asyncio.create_task(producer.send_record(outcome(n))) for n in range(2))
    await eventually(lambda: cluster.asked)
    first.cancel()
    cluster.open.set()
    assert await second == (1, 42)
    assert first.cancelled()


async def test_closing_ends_a_check_that_is_under_way() -> None:
    cluster = Cluster(State.FINE)
    producer = KafkaProducer(KafkaSettings(), lambda: Client([]), cluster.check)  # type: ignore[arg-type, return-value]
    sending = asyncio.create_task(producer.send_record(outcome(1)))
    await eventually(lambda: cluster.asked)
    sending.cancel()
    await producer.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "check outcome.recorded"]


async def test_closing_stops_the_client() -> None:
    client = Client([None])
    producer = producing_with(client)
    await producer.send_record(RECORD)
    await producer.close()
    assert client.stopped
