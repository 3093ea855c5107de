"""The brokers and databases that the other contract tests stand on."""

from __future__ import annotations

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy.engine import make_url

from gyrostat_local.readiness import kafka_answers
from support.kafka import Broker, SecureBroker
from support.postgres import PostgresServer


def test_a_killed_broker_comes_back_on_the_same_port_with_its_folder(own_broker: Broker) -> None:
    own_broker.kill()
    assert not kafka_answers(own_broker.address)
    own_broker.start()
    assert kafka_answers(own_broker.address)


async def test_the_secure_listener_takes_scram_over_tls_and_nothing_else(secure_broker: SecureBroker) -> None:
    from aiokafka.helpers import create_ssl_context

    context = create_ssl_context(cafile=str(secure_broker.authority.certificate_file))
    admin = AIOKafkaAdminClient(
        bootstrap_servers=secure_broker.address,
        security_protocol="SASL_SSL",
        ssl_context=context,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="admin",
        sasl_plain_password="admin-secret",
    )
    await admin.start()
    try:
        await admin.create_topics([NewTopic("secure.probe", 1, 1)])
        assert "secure.probe" in await admin.list_topics()
    finally:
        await admin.close()
    assert not kafka_answers(secure_broker.address)


async def test_every_test_gets_an_empty_database(postgres: str) -> None:
    url = make_url(postgres)
    link = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    try:
        assert await link.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    finally:
        await link.close()


async def test_a_database_that_is_given_again_is_empty_and_nobody_is_in_it(postgres_server: PostgresServer) -> None:
    given = postgres_server.new_database()
    url = make_url(given)
    link = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    await link.execute("CREATE TABLE kept (n int); CREATE SCHEMA own; CREATE TABLE own.kept (n int)")
    postgres_server.empty_database(given)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await link.fetchval("SELECT 1")
    assert postgres_server.new_database() == given
    again = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    try:
        assert await again.fetchval("SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0
        assert await again.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname IN ('own', 'public')") == 1
    finally:
        await again.close()
    postgres_server.empty_database(given)


@pytest.mark.usefixtures("kafka")
def test_the_shared_broker_starts() -> None:
    """Its fixture fails otherwise."""
