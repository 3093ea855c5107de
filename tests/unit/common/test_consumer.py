"""The consumer's lock, without a broker."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus.consumer import KafkaConsumer
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.producer import KafkaProducer
from gyrostat_common.settings import KafkaSettings
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
