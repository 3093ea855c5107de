"""A broker that is down: at the start, in mid-run, killed. Topics that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus.topics import State
from gyrostat_common.errors import Unavailable
from gyrostat_common.settings import KafkaSettings
from support.events import Heard, a_plan, a_promotion, an_outcome
from support.kafka import Broker
from support.logs import IMPATIENT, TOPICS, KafkaLog
from support.waiting import eventually

PROMOTED, OUTCOME, PLAN = events_pb2.ModelPromoted, events_pb2.OutcomeRecorded, events_pb2.ServingPlan
WANTED = [topic for topic in bus.contract.events() if topic.name in TOPICS]


async def test_a_broker_that_is_down_at_the_start_is_waited_for(own_broker: Broker) -> None:
    await bus.topics.apply(own_broker.settings, wanted=WANTED)
    own_broker.stop()
    heard, state = Heard(), Heard()
    async with (
        bus.open(own_broker.settings, IMPATIENT) as log,
        log.producer() as producer,
        log.consume("registry", [bus.Route(PROMOTED, heard.one)]),
        log.read_state(PLAN, state.one) as reader,
    ):
        sending = [asyncio.create_task(producer.send(event)) for event in (a_promotion(1), a_plan(1))]
        with pytest.raises(Unavailable, match="Kafka"):
            await bus.topics.check(own_broker.settings)
        assert not reader.caught_up.is_set()
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(60):
            await asyncio.gather(*sending)
            await reader.caught_up.wait()
        await heard.until(1)
        await state.until(1)


async def test_a_broker_killed_in_mid_run_loses_nothing(own_broker: Broker) -> None:
    await bus.topics.apply(own_broker.settings, wanted=WANTED)
    heard = Heard()
    async with (
        bus.open(own_broker.settings, IMPATIENT) as log,
        log.producer() as producer,
        log.consume("registry", [bus.Route(PROMOTED, heard.one)]),
    ):
        await producer.send(a_promotion(0))
        await heard.until(1)
        own_broker.kill()
        sending = [asyncio.create_task(producer.send(a_promotion(n))) for n in range(1, 40)]
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(60):
            await asyncio.gather(*sending)
        await eventually(lambda: {payload.version_after for payload in heard.payloads} == set(range(40)))


async def test_a_consumer_waits_for_its_topic_to_be_made(fresh_kafka: KafkaSettings) -> None:
    heard = Heard()
    log = KafkaLog(fresh_kafka)
    async with log.bus.consume("registry", [bus.Route(PROMOTED, heard.one)]), log.bus.producer() as producer:
        sending = asyncio.create_task(producer.send(a_promotion(1)))
        await bus.topics.apply(fresh_kafka, wanted=WANTED)
        async with asyncio.timeout(60):
            await sending
        await heard.until(1)


async def test_topics_are_made_once_and_then_left_alone(fresh_kafka: KafkaSettings) -> None:
    planned = await bus.topics.apply(fresh_kafka, dry_run=True)
    assert {report.state for report in planned} == {State.MISSING}
    made = await bus.topics.apply(fresh_kafka)
    assert {report.state for report in made} == {State.CREATED}
    assert {report.name for report in made} >= {f"{fresh_kafka.topic_prefix}serving.plan"}
    again = await bus.topics.apply(fresh_kafka)
    assert {report.state for report in again} == {State.FINE}
    plan = next(report for report in again if report.contract.name == "serving.plan")
    assert (plan.partitions, plan.config["cleanup.policy"]) == (1, "compact")


async def test_a_wrong_policy_or_too_few_partitions_are_refused_and_other_differences_shown(
    fresh_kafka: KafkaSettings,
) -> None:
    from dataclasses import replace

    by_name = {topic.name: topic for topic in bus.contract.events()}
    site = [
        replace(by_name["serving.plan"], compacted=False, retention_days=1),
        replace(by_name["outcome.recorded"], partitions=1),
        replace(by_name["model.promoted"], partitions=4, retention_days=2),
    ]
    await bus.topics.apply(fresh_kafka, wanted=site)
    reports = {report.contract.name: report for report in await bus.topics.check(fresh_kafka, WANTED)}
    assert reports["serving.plan"].refused
    assert "cleanup.policy" in reports["serving.plan"].remarks[0]
    assert reports["outcome.recorded"].refused
    assert "1 partitions" in reports["outcome.recorded"].remarks[0]
    assert reports["model.promoted"].state is State.DIFFERS
    assert any("retention.ms" in remark for remark in reports["model.promoted"].remarks)

    async with KafkaLog(fresh_kafka).bus.consume("monitor", [bus.Route(PLAN, Heard().one)]) as consumer:
        await eventually(lambda: consumer.problem)
    assert "refused" in consumer.problem


async def test_a_producer_waits_rather_than_write_to_a_wrong_topic(fresh_kafka: KafkaSettings) -> None:
    from dataclasses import replace

    [plan] = [topic for topic in WANTED if topic.name == "serving.plan"]
    await bus.topics.apply(fresh_kafka, wanted=[replace(plan, compacted=False, retention_days=1)])
    log = KafkaLog(fresh_kafka)
    async with log.bus.producer() as producer:
        sending = asyncio.create_task(producer.send(a_plan(1)))
        await eventually(lambda: producer.problem)
        assert "cleanup.policy is delete, the contract wants compact" in producer.problem
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert await log.records("serving.plan") == []


async def test_what_retention_took_is_told(fresh_kafka: KafkaSettings) -> None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.structs import TopicPartition

    from gyrostat_common.bus import consumer as consumer_module
    from gyrostat_common.bus.connection import client_options

    await bus.topics.apply(fresh_kafka, wanted=WANTED)
    log = KafkaLog(fresh_kafka)
    first, second = Heard(), Heard()
    async with log.bus.producer() as producer:
        await producer.send(a_promotion(0))
        async with log.bus.consume("registry", [bus.Route(PROMOTED, first.one)]):
            await first.until(1)
        for n in range(1, 6):
            await producer.send(a_promotion(n))
    admin = AIOKafkaAdminClient(**client_options(fresh_kafka))
    await admin.start()
    await admin.delete_records({TopicPartition(f"{fresh_kafka.topic_prefix}model.promoted", 0): _before(4)})
    await admin.close()
    count = consumer_module.gaps_total.labels("registry", "model.promoted")
    before = count._value.get()
    async with log.bus.consume("registry", [bus.Route(PROMOTED, second.one)]):
        await second.until(2)
    assert [payload.version_after for payload in second.payloads] == [4, 5]
    assert count._value.get() - before == 3


def _before(offset: int) -> object:
    from aiokafka.admin import RecordsToDelete

    return RecordsToDelete(before_offset=offset)


async def test_a_member_that_joins_while_records_arrive_leaves_nobody_deaf(fresh_kafka: KafkaSettings) -> None:
    log, one, other = KafkaLog(fresh_kafka), Heard(), Heard()
    await bus.topics.apply(fresh_kafka, wanted=WANTED)
    sent = 0
    async with log.bus.producer() as producer, log.bus.consume("monitor", [bus.Route(OUTCOME, one.one)]):

        async def send_until(enough: Callable[[], object]) -> None:
            nonlocal sent
            async with asyncio.timeout(40):
                while not enough():
                    await producer.send(an_outcome(f"b{sent}", partition=sent % 3))
                    sent += 1

        await send_until(lambda: one.received)
        async with log.bus.consume("monitor", [bus.Route(OUTCOME, other.one)]):
            await send_until(lambda: other.received)
        await eventually(lambda: len(one.received) + len(other.received) >= sent)
