"""The ACLs that the docs give are enough for each service, and no more than enough. On a broker that enforces them."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus.connection import client_options
from gyrostat_common.bus.contract import SERVICES
from gyrostat_common.bus.rights import Right, rights
from gyrostat_common.settings import KafkaSettings
from support.events import Heard, a_plan, a_promotion
from support.kafka import SecureBroker
from support.waiting import eventually

RESOURCES = {"topic": 2, "group": 3}
OPERATIONS = {"READ": 3, "WRITE": 4}
LITERAL, PREFIXED, ALLOW = 3, 4, 3


async def allow(admin_settings: KafkaSettings, service: str) -> None:
    admin = AIOKafkaAdminClient(**client_options(admin_settings))
    await admin.start()
    try:
        for right in rights(service):
            request = CreateAclsRequest(
                RESOURCES[right.resource],
                admin_settings.topic_prefix + right.name,
                PREFIXED if right.prefixed else LITERAL,
                f"User:{service}",
                "*",
                OPERATIONS[right.operation],
                ALLOW,
            )
            response = await admin._send_request(request)
            assert [code for code, _ in response.creation_responses] == [0]
    finally:
        await admin.close()


@pytest.fixture
async def users(secure_broker: SecureBroker) -> dict[str, KafkaSettings]:
    """Settings per service, with topics made and exactly the documented ACLs."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    admin = secure_broker.settings().model_copy(update={"topic_prefix": prefix})
    await bus.topics.apply(admin)
    for service in SERVICES:
        await allow(admin, service)
    return {name: secure_broker.settings(name).model_copy(update={"topic_prefix": prefix}) for name in SERVICES}


async def test_the_registry_writes_plans_and_the_inference_reads_them(users: dict[str, KafkaSettings]) -> None:
    heard = Heard()
    async with (
        bus.open(users["registry"]) as registry,
        bus.open(users["inference"]) as inference,
        registry.producer() as producer,
        inference.read_state(events_pb2.ServingPlan, heard.one) as reader,
    ):
        async with asyncio.timeout(30):
            await producer.send(a_plan(1))
            await reader.caught_up.wait()
        await heard.until(1)


async def test_a_consumer_works_with_its_own_group_and_dead_letters(users: dict[str, KafkaSettings]) -> None:
    heard = Heard()
    async with (
        bus.open(users["registry"]) as registry,
        bus.open(users["trainer"]) as trainer,
        registry.producer() as producer,
        trainer.consume("trainer", [bus.Route(events_pb2.ModelPromoted, heard.one)]) as consumer,
    ):
        async with asyncio.timeout(30):
            await producer.send(a_promotion(1))
        await heard.until(1)
        assert consumer.problem is None


async def test_only_the_registry_writes_plans(users: dict[str, KafkaSettings]) -> None:
    for service in set(SERVICES) - {"registry"}:
        assert Right("topic", "serving.plan", "WRITE") not in rights(service)
    async with bus.open(users["inference"]) as inference, inference.producer() as producer:
        sending = asyncio.create_task(producer.send(a_plan(666)))
        await eventually(lambda: producer.problem)
        assert TopicAuthorizationFailedError.__name__ in producer.problem
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_group_of_another_service_is_out_of_reach(users: dict[str, KafkaSettings]) -> None:
    from aiokafka import AIOKafkaConsumer

    settings = users["inference"]
    group = f"{settings.topic_prefix}registry"
    client = AIOKafkaConsumer(f"{settings.topic_prefix}serving.plan", group_id=group, **client_options(settings))
    with pytest.raises((GroupAuthorizationFailedError, TimeoutError)):
        async with asyncio.timeout(20):
            await client.start()
    await client.stop()


async def test_a_wrong_password_is_told(secure_broker: SecureBroker, caplog: pytest.LogCaptureFixture) -> None:
    settings = secure_broker.settings("registry", "wrong")
    async with bus.open(settings) as log, log.producer() as producer:
        await eventually(lambda: producer.problem)
        assert "refuses the login" in producer.problem
    assert "SaslAuthenticationFailed" in caplog.text


def test_a_right_names_what_it_allows() -> None:
    assert rights("registry")[0] == Right("group", "registry", "READ", prefixed=True)
    assert replace(rights("registry")[0], prefixed=False) not in rights("registry")
