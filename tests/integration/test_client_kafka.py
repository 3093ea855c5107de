"""`gyrostat topics …` and `gyrostat events …` on a real broker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gyrostat.events.v1 import events_pb2
from gyrostat_client import AsyncClient
from gyrostat_client.cli.app import app
from gyrostat_client.settings import Settings
from gyrostat_common import bus
from gyrostat_common.settings import KafkaSettings
from support.closed_loop import prediction_frame
from support.events import a_plan, a_promotion, an_event, an_outcome
from support.fakes import PREDICTION

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def run(fresh_kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command against this test's own topics."""
    for name in [name for name in os.environ if name.startswith("GYROSTAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GYROSTAT_KAFKA__BOOTSTRAP_SERVERS", fresh_kafka.bootstrap_servers)
    monkeypatch.setenv("GYROSTAT_KAFKA__TOPIC_PREFIX", fresh_kafka.topic_prefix)
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
async def client(fresh_kafka: KafkaSettings, tmp_path: Path) -> AsyncClient:
    return AsyncClient(settings=Settings(kafka=fresh_kafka))


async def fill(kafka: KafkaSettings) -> None:
    """One event of five kinds, the topics being there."""
    await bus.topics.apply(kafka)
    async with bus.open(kafka) as log, log.producer() as producer:
        await producer.send(an_event(prediction_frame(), key="fraud", subject="fraud:4", partition=0))
        await producer.send(an_outcome(PREDICTION, model="fraud"))
        await producer.send(a_promotion(4, "fraud", correlation_id="loop", causation_id="parent"))
        await producer.send(a_plan(3, "fraud"))
        await producer.send(a_promotion(1, "other"))


async def test_topics_are_missing_then_created_then_fine(run, fresh_kafka):
    import asyncio

    missing = await asyncio.to_thread(run, "topics", "check", "--json")
    assert missing.exit_code == 1
    assert {line["state"] for line in json.loads(missing.stdout)} == {"missing"}
    created = await asyncio.to_thread(run, "topics", "apply", "--json")
    assert created.exit_code == 0
    assert {line["state"] for line in json.loads(created.stdout)} == {"created"}
    fine = await asyncio.to_thread(run, "topics", "check")
    assert fine.exit_code == 0
    assert "fine" in fine.stdout


async def test_every_topic_is_decoded_and_micro_batches_are_unrolled(client, fresh_kafka):
    await fill(fresh_kafka)
    async with client:
        events = [event async for event in client.events.tail(from_beginning=True, follow=False)]
    by_topic = {event.topic: event for event in events if event.model != "other"}
    assert set(by_topic) == {"prediction.logged", "outcome.recorded", "model.promoted", "serving.plan"}
    assert isinstance(by_topic["serving.plan"].payload, events_pb2.ServingPlan)
    assert (by_topic["model.promoted"].correlation_id, by_topic["model.promoted"].causation_id) == ("loop", "parent")
    rows = list(by_topic["prediction.logged"].predictions())
    assert [row.inputs["country"] for row in rows] == ["CH", "ÖSTERREICH", "DE"]


async def test_the_tail_is_filtered_limited_and_comes_as_it_is_written(client, fresh_kafka):
    await fill(fresh_kafka)
    async with client:
        of_other = [event async for event in client.events.tail(model="other", from_beginning=True, follow=False)]
        assert [event.topic for event in of_other] == ["model.promoted"]
        limited = [event async for event in client.events.tail(["model.promoted"], from_beginning=True, limit=1)]
        assert len(limited) == 1


async def test_the_command_prints_a_line_per_prediction(run, fresh_kafka):
    import asyncio

    await fill(fresh_kafka)
    args = ("events", "tail", "--from-beginning", "--no-follow", "--topic", "prediction.logged")
    shown = await asyncio.to_thread(run, *args)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert len(lines) == 3
    assert f"{PREDICTION}/2" in lines[2]
    assert "country=DE" in lines[2]
    assert "email=hash:0123456789abcdef" in lines[2]
    assert "secret=dropped" in lines[2]
    printed = await asyncio.to_thread(lambda: run(*args, "--json", "--limit", "2"))
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [row["inputs"]["amount"] for row in rows] == [0.0, None]


async def test_one_event_is_shown_by_place_and_by_id(run, fresh_kafka):
    import asyncio

    await fill(fresh_kafka)
    by_place = await asyncio.to_thread(run, "events", "show", "serving.plan/0/0", "--json")
    assert by_place.exit_code == 0, by_place.output
    event = json.loads(by_place.stdout)
    assert event["payload"]["revision"] == 3
    by_id = await asyncio.to_thread(run, "events", "show", event["id"])
    assert by_id.exit_code == 0, by_id.output
    assert "serving.plan/0/0" in by_id.stdout
    nothing = await asyncio.to_thread(run, "events", "show", "serving.plan/0/99")
    assert nothing.exit_code == 1
    assert "no event serving.plan/0/99" in nothing.stderr


async def test_an_undecodable_record_says_why_and_does_not_end_the_tail(client, fresh_kafka):
    from aiokafka import AIOKafkaProducer

    await fill(fresh_kafka)
    async with AIOKafkaProducer(bootstrap_servers=fresh_kafka.bootstrap_servers) as producer:
        await producer.send_and_wait(fresh_kafka.topic_prefix + "model.promoted", b"no event", key=b"fraud")
    async with client:
        events = [event async for event in client.events.tail(["model.promoted"], from_beginning=True, follow=False)]
    assert "cannot be decoded" in events[-1].note
    assert len(events) == 3


async def test_a_topic_that_is_not_there_is_named(run, fresh_kafka):
    import asyncio

    result = await asyncio.to_thread(run, "events", "tail", "--topic", "nothing.happened")
    assert result.exit_code == 1
    assert "nothing.happened" in result.stderr
    assert "topics apply" in result.stderr


async def test_dead_letters_are_counted_by_topic(client, fresh_kafka):
    from aiokafka import AIOKafkaProducer

    await bus.topics.apply(fresh_kafka)
    async with AIOKafkaProducer(bootstrap_servers=fresh_kafka.bootstrap_servers) as producer:
        for _ in range(2):
            await producer.send_and_wait(fresh_kafka.topic_prefix + "registry.dlq", b"garbage")
    async with client:
        counts = await client.events.dead_letters()
    assert counts == {"registry.dlq": 2, "monitor.dlq": 0, "monitor.archive.dlq": 0, "trainer.dlq": 0}
