"""What a bus promises, on every implementation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.errors import AlreadyExists, InvalidInput, NotFound, Overloaded, Unavailable, WrongState
from support.events import NOON, Heard, a_plan, a_promotion, an_event, an_outcome
from support.logs import IMPATIENT, Log
from support.waiting import eventually

PROMOTED, OUTCOME, PLAN = events_pb2.ModelPromoted, events_pb2.OutcomeRecorded, events_pb2.ServingPlan


async def send(log: Log, *events: bus.Event) -> list[tuple[int, int]]:
    async with log.bus.producer() as producer:
        return [await producer.send(event) for event in events]


def raising(error: Exception, when: Any = lambda payload: True, times: int = 10**9) -> Any:
    left = [times]

    def fail(received: Any) -> None:
        if when(received.event.payload) and left[0] > 0:
            left[0] -= 1
            raise error

    return fail


async def test_an_event_arrives_as_it_was_sent(log: Log) -> None:
    sent = a_promotion(4, id="e-1", correlation_id="loop", causation_id="parent", time=NOON)
    heard = Heard()
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        [(partition, offset)] = await send(log, sent)
        await heard.until(1)
    [received] = heard.received
    assert received.event == sent
    assert (received.topic, received.partition, received.offset) == ("model.promoted", partition, offset)
    assert received.timestamp_ms > 0


async def test_bytes_that_happen_to_be_text_stay_bytes(log: Log) -> None:
    heard = Heard()
    sent = an_event(PROMOTED(model="text"))
    assert sent.payload.SerializeToString().decode()  # valid UTF-8
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        await send(log, sent)
        await heard.until(1)
    assert heard.payloads == [sent.payload]


async def test_events_of_a_key_keep_their_order(log: Log) -> None:
    heard = Heard()
    async with log.bus.producer() as producer:
        places = [await producer.send(an_outcome(f"p{n % 5}", value=n)) for n in range(50)]
    async with log.bus.consume("monitor", [bus.Route(OUTCOME, handle_batch=heard.many)], max_records=7):
        await heard.until(50)
    for key in range(5):
        values = [one.event.payload.value for one in heard.received if one.event.key == f"p{key}"]
        assert values == sorted(values)
        assert len({partition for n, (partition, _) in enumerate(places) if n % 5 == key}) == 1


async def test_a_chosen_partition_is_obeyed(log: Log) -> None:
    places = await send(log, *(an_outcome("same", partition=n) for n in (2, 0, 1)))
    assert [partition for partition, _ in places] == [2, 0, 1]


async def test_every_group_hears_everything(log: Log) -> None:
    one, other = Heard(), Heard()
    await send(log, *(a_promotion(n) for n in range(3)))
    async with (
        log.bus.consume("registry", [bus.Route(PROMOTED, one.one)]),
        log.bus.consume("monitor", [bus.Route(PROMOTED, other.one)]),
    ):
        await one.until(3)
        await other.until(3)


async def test_routes_of_one_consumer_hear_their_own_topics(log: Log) -> None:
    promotions, outcomes = Heard(), Heard()
    async with log.bus.consume("monitor", [bus.Route(PROMOTED, promotions.one), bus.Route(OUTCOME, outcomes.one)]):
        await send(log, a_promotion(1), an_outcome("p"))
        await promotions.until(1)
        await outcomes.until(1)
    assert isinstance(promotions.payloads[0], PROMOTED)
    assert isinstance(outcomes.payloads[0], OUTCOME)


async def test_a_second_consumer_goes_on_where_the_first_stopped(log: Log) -> None:
    first, second = Heard(), Heard()
    await send(log, a_promotion(1), a_promotion(2))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, first.one)]):
        await first.until(2)
    await send(log, a_promotion(3))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, second.one)]):
        await second.until(1)
    assert [payload.version_after for payload in second.payloads] == [3]


async def test_commit_comes_last(log: Log) -> None:
    unlucky = Heard(raising(Unavailable("the database is away"), when=lambda payload: payload.version_after == 2))
    lucky = Heard()
    await send(log, a_promotion(1), a_promotion(2), a_promotion(3))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, unlucky.one)]):
        await unlucky.until_calls(4)
    async with log.bus.consume("registry", [bus.Route(PROMOTED, lucky.one)]):
        await lucky.until(2)
    assert [payload.version_after for payload in lucky.payloads] == [2, 3]


@pytest.mark.parametrize("error", [Unavailable("away"), Overloaded("full")])
async def test_what_may_pass_is_tried_in_place_until_it_passes(log: Log, error: Exception) -> None:
    heard = Heard(raising(error, times=6))
    await send(log, a_promotion(1), a_promotion(2))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        await heard.until(2)
    assert [payload.version_after for payload in heard.payloads] == [1, 2]
    assert heard.calls == 8


@pytest.mark.parametrize(
    ("error", "calls"), [(InvalidInput("no"), 1), (NotFound("no"), 1), (WrongState("no"), 1), (ValueError("bug"), 3)]
)
async def test_what_cannot_pass_becomes_a_dead_letter(log: Log, error: Exception, calls: int) -> None:
    heard = Heard(raising(error, when=lambda payload: payload.version_after == 1))
    [(partition, offset), _] = await send(log, bad := a_promotion(1), a_promotion(2))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        await heard.until(1)
    [letter] = await log.records("registry.dlq")
    headers = {name: value.decode() for name, value in letter.headers}
    assert letter.value == bad.payload.SerializeToString()
    assert letter.key == b"flights"
    assert headers["ce_id"] == bad.id
    assert (headers["dlq_topic"], headers["dlq_partition"], headers["dlq_offset"]) == (
        "model.promoted",
        str(partition),
        str(offset),
    )
    assert (headers["dlq_error"], headers["dlq_tries"]) == (type(error).__name__, str(calls))
    assert heard.calls == calls + 1


async def test_what_is_there_already_is_done(log: Log) -> None:
    heard = Heard(raising(AlreadyExists("seen"), times=1))
    await send(log, a_promotion(1), a_promotion(2))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        await heard.until(1)
    assert heard.calls == 2
    assert await log.bus.lag("registry") == {"model.promoted": 0}


async def test_a_failing_batch_gives_up_only_its_culprits(log: Log) -> None:
    heard = Heard(raising(InvalidInput("no"), when=lambda payload: payload.version_after in (2, 4)))
    await send(log, *(a_promotion(n) for n in range(6)))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, handle_batch=heard.many)]):
        await heard.until(4)
    assert [payload.version_after for payload in heard.payloads] == [0, 1, 3, 5]
    assert len(await log.records("registry.dlq")) == 2


GARBAGE = [
    bus.codec.Outgoing(topic="model.promoted", key=b"k", value=b"\xff\xff\xff", headers=()),
    bus.codec.Outgoing(topic="model.promoted", key=b"gone", value=None, headers=()),
]


@pytest.mark.parametrize("batch", [False, True])
async def test_poison_becomes_a_dead_letter_with_its_bytes(log: Log, batch: bool) -> None:
    heard = Heard()
    await send(log, a_promotion(1))
    for record in GARBAGE:
        await log.append(record)
    await send(log, a_promotion(2))
    route = bus.Route(PROMOTED, handle_batch=heard.many) if batch else bus.Route(PROMOTED, heard.one)
    async with log.bus.consume("registry", [route]):
        await heard.until(2)
    letters = await log.records("registry.dlq")
    assert [(letter.key, letter.value) for letter in letters] == [(b"k", b"\xff\xff\xff"), (b"gone", None)]


async def test_too_much_poison_stops_the_consumer(log: Log) -> None:
    heard = Heard(raising(InvalidInput("no")))
    await send(log, *(a_promotion(n) for n in range(20)))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]) as consumer:
        await heard.until_calls(IMPATIENT.dead_letters + 1)
        await eventually(lambda: consumer.problem)
        assert "dead letters" in consumer.problem
    assert len(await log.records("registry.dlq")) == IMPATIENT.dead_letters


async def test_state_that_cannot_be_handled_stops_its_consumer(log: Log) -> None:
    heard = Heard(raising(InvalidInput("no")))
    await send(log, a_plan(1))
    async with log.bus.consume("monitor", [bus.Route(PLAN, heard.one)]) as consumer:
        await eventually(lambda: consumer.problem)
        assert "serving.plan" in consumer.problem


async def test_lag_counts_what_is_not_committed(log: Log) -> None:
    heard = Heard()
    await send(log, a_promotion(1))
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]):
        await heard.until(1)
    await send(log, a_promotion(2), a_promotion(3))
    assert await log.bus.lag("registry") == {"model.promoted": 2}


async def test_positions_name_what_waits_also_where_nothing_was_ever_committed(log: Log) -> None:
    await send(log, *(an_outcome(f"a{n}", partition=1) for n in range(3)))
    heard = Heard()
    async with log.bus.consume("monitor.archive", [bus.Route(OUTCOME, heard.one)]):
        await heard.until(3)
    found = {
        (one.group, one.topic, one.partition): one for one in await log.bus.positions(["monitor", "monitor.archive"])
    }
    assert found["monitor", "outcome.recorded", 1].waiting == 3
    assert found["monitor", "outcome.recorded", 0].waiting == 0
    archived = found["monitor.archive", "outcome.recorded", 1]
    assert (archived.at, archived.end, archived.waiting) == (3, 3, 0)


async def test_an_event_beyond_the_topics_size_is_refused_to_its_sender(log: Log) -> None:
    with pytest.raises(InvalidInput, match="too large"):
        await send(log, an_event(PROMOTED(evidence="x" * 3_000_000)))


async def test_state_is_read_from_the_beginning_and_then_as_it_comes(log: Log) -> None:
    heard = Heard()
    await send(log, a_plan(1), a_plan(1, model="other"))
    await log.append(bus.codec.tombstone("serving.plan", "production/other"))
    async with log.bus.read_state(PLAN, heard.one) as reader:
        async with asyncio.timeout(30):
            await reader.caught_up.wait()
        assert len(heard.received) == 3
        await send(log, a_plan(2))
        await heard.until(4)
    gone = heard.received[2]
    assert isinstance(gone, bus.Tombstone)
    assert gone.key == "production/other"
    assert heard.received[3].event.payload.revision == 2


async def test_empty_state_is_caught_up(log: Log) -> None:
    async with log.bus.read_state(PLAN, Heard().one) as reader, asyncio.timeout(30):
        await reader.caught_up.wait()


def poison(key: bytes) -> bus.codec.Outgoing:
    return bus.codec.Outgoing(topic="serving.plan", key=key, value=b"x", headers=())


async def test_state_that_cannot_be_read_holds_its_key_and_no_other(log: Log) -> None:
    heard, told = Heard(), []
    await send(log, a_plan(1))
    await log.append(poison(b"production/flights"))
    async with log.bus.read_state(PLAN, heard.one, told.append) as reader, asyncio.timeout(30):
        await reader.caught_up.wait()
        assert "serving.plan/0 offset 1, key production/flights" in reader.problem
        await log.append(poison(b"\xff"))
        await eventually(lambda: len(reader.held) == 2)
        await log.append(bus.codec.tombstone("serving.plan", "production/other"))
        await heard.until(2)
        await send(log, a_plan(2))
        await eventually(lambda: len(reader.held) == 1)
        assert heard.received[2].event.payload.revision == 2
        await log.append(bus.codec.Outgoing(topic="serving.plan", key=b"\xff", value=None, headers=()))
        await eventually(lambda: reader.problem is None)
    assert [(held.key, held.offset) for held in told] == [(b"production/flights", 1), (b"\xff", 2)]


async def test_what_the_log_has_mended_long_ago_is_not_told(log: Log) -> None:
    told = []
    await log.append(poison(b"production/flights"))
    await send(log, a_plan(1))
    async with log.bus.read_state(PLAN, Heard().one, told.append) as reader, asyncio.timeout(30):
        await reader.caught_up.wait()
        assert (told, reader.held, reader.problem) == ([], (), None)


async def test_a_plan_that_its_reader_refuses_holds_its_key(log: Log) -> None:
    refusing = Heard(raising(InvalidInput("no such word"), lambda plan: plan.revision == 1))
    await send(log, a_plan(1))
    async with log.bus.read_state(PLAN, refusing.one) as reader, asyncio.timeout(30):
        await reader.caught_up.wait()
        assert "no such word" in reader.problem
        await send(log, a_plan(2))
        await eventually(lambda: reader.problem is None)


async def test_members_of_a_group_share_the_partitions_and_read_nothing_twice(log: Log) -> None:
    one, other = Heard(), Heard()
    routes = [bus.Route(OUTCOME, handle_batch=one.many)], [bus.Route(OUTCOME, handle_batch=other.many)]
    async with log.bus.producer() as producer, log.bus.consume("monitor", routes[0], max_records=10):
        await asyncio.gather(*(producer.send(an_outcome(f"a{n}", partition=n % 3)) for n in range(300)))
        async with log.bus.consume("monitor", routes[1], max_records=10):
            # A rebalance takes place in the middle of these.
            for n in range(300, 312):
                await producer.send(an_outcome(f"a{n}", partition=n % 3))
            await asyncio.gather(*(producer.send(an_outcome(f"a{n}", partition=n % 3)) for n in range(312, 912)))
            await eventually(lambda: len(one.received) + len(other.received) >= 912)
    ids = [received.event.id for received in one.received + other.received]
    assert len(ids) == len(set(ids)) == 912
