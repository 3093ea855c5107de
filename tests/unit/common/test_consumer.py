"""The consumer's lock, without a broker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest
from aiokafka.errors import CommitFailedError

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus.consumer import KafkaConsumer, commit_unless_closed
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.producer import KafkaProducer
from gyrostat_common.bus.pulse import Pulse
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.telemetry.metrics import render
from support.events import Heard


class Rebalancing:
    """A client as aiokafka's is in a rebalance: a fetch returns only with the new assignment."""

    def __init__(self) -> None:
        self.fetching, self.assigned = asyncio.Event(), asyncio.Event()

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        self.fetching.set()
        await self.assigned.wait()
        return {}

    def assignment(self) -> set[Any]:
        return set()


async def test_a_rebalance_does_not_wait_for_a_fetch_that_waits_for_the_rebalance():
    kafka, client = KafkaSettings(), Rebalancing()
    routes = [bus.Route(events_pb2.ModelPromoted, Heard().one)]
    consumer = KafkaConsumer(kafka, "registry", routes, cast(KafkaProducer, None), Retries(), 10)
    reading = asyncio.create_task(consumer.read_once(client))
    await client.fetching.wait()
    async with asyncio.timeout(1):
        await consumer.give_up_partitions()
    client.assigned.set()
    await reading


class Deaf(Rebalancing):
    """A client whose fetch never comes back."""

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        return await asyncio.Event().wait()  # type: ignore[return-value]


def a_consumer(**patience: float) -> KafkaConsumer:
    routes = [bus.Route(events_pb2.ModelPromoted, Heard().one)]
    return KafkaConsumer(KafkaSettings(), "registry", routes, cast(KafkaProducer, None), Retries(**patience), 10)


def test_a_loop_that_comes_round_no_more_is_a_problem_until_it_does():
    seconds = [0.0]
    pulse = Pulse("registry", 120.0, lambda: seconds[0])
    seconds[0] = 1000.0
    assert (pulse.problem, pulse.still()) == (None, 0.0)  # no connection yet: told elsewhere
    pulse.beat()
    seconds[0] += 120.0
    assert pulse.problem is None
    seconds[0] += 1.0
    assert pulse.problem is not None
    assert "no fetch was completed for 121 s" in pulse.problem
    assert b'gyrostat_consumer_still_seconds{group="registry"} 121.0' in render()
    pulse.beat()
    assert pulse.problem is None
    pulse.rest()
    seconds[0] += 1000.0
    assert pulse.problem is None


async def test_a_consumer_tells_that_it_stands_still():
    consumer, seconds = a_consumer(), [0.0]
    consumer.pulse = Pulse("registry", 120.0, lambda: seconds[0])
    consumer.pulse.beat()
    reading = asyncio.create_task(consumer.read_once(client := Rebalancing()))
    await client.fetching.wait()
    assert consumer.problem is None
    seconds[0] = 121.0
    assert consumer.problem is not None
    client.assigned.set()
    await reading
    assert consumer.problem is None  # an empty fetch will do


async def test_a_fetch_that_never_comes_back_is_given_up():
    with pytest.raises(TimeoutError):
        await a_consumer(still_s=0.01).read_once(Deaf())


class Gone:
    """A client whose coordinator is gone for good: it looks for it without end, and ignores that nobody waits."""

    def __init__(self) -> None:
        self.committing, self.back = asyncio.Event(), asyncio.Event()

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        return {}

    async def commit(self, offsets: Any) -> None:
        self.committing.set()
        while not self.back.is_set():
            with suppress(asyncio.CancelledError):
                await self.back.wait()


async def test_a_commit_that_never_ends_holds_up_the_close_for_a_moment_only() -> None:
    client, closed = Gone(), asyncio.Event()
    committing = asyncio.create_task(commit_unless_closed(cast(Any, client), {}, closed, within_s=0.01))
    await client.committing.wait()
    assert not committing.done()
    closed.set()
    async with asyncio.timeout(5):
        assert await committing is False
    client.back.set()


async def test_a_commit_that_the_broker_refuses_says_so() -> None:
    client = Gone()
    client.commit = refused  # type: ignore[method-assign]
    with pytest.raises(CommitFailedError):
        await commit_unless_closed(cast(Any, client), {}, asyncio.Event(), within_s=0.01)


async def refused(_: Any) -> None:
    raise CommitFailedError
