"""Builders of events, and a handler that remembers what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)


def a_promotion(version: int = 1, model: str = "flights", **changes: Any) -> bus.Event:
    """model.promoted, one partition."""
    payload = events_pb2.ModelPromoted(model=model, version_after=version)
    return an_event(payload, key=model, subject=f"{model}:{version}", **changes)


def an_outcome(prediction: str, value: float = 1.0, model: str = "flights", **changes: Any) -> bus.Event:
    """outcome.recorded, three partitions."""
    ref = events_pb2.PredictionRef(prediction_id=prediction)
    payload = events_pb2.OutcomeRecorded(model=model, prediction=ref, value=value)
    return an_event(payload, key=prediction, subject=model, **changes)


def a_plan(revision: int, model: str = "flights", environment: str = "production", **changes: Any) -> bus.Event:
    """serving.plan, compacted."""
    payload = events_pb2.ServingPlan(environment=environment, model=model, revision=revision)
    return an_event(payload, key=f"{environment}/{model}", subject=model, **changes)


def an_event(payload: Any, **changes: Any) -> bus.Event:
    """Any event, at noon, from a test."""
    values: dict[str, Any] = {"key": "key", "subject": "subject", "source": "gyrostat-test", "time": NOON}
    return bus.Event(payload=payload, **(values | changes))


class Heard:
    """A handler for single records, batches and state. `fail` is called with each and may raise."""

    def __init__(self, fail: Callable[[Any], None] = lambda received: None) -> None:
        self.received: list[Any] = []
        self.calls = 0
        self._fail = fail
        self._changed = asyncio.Condition()

    async def one(self, received: Any) -> None:
        """For Route(handle=…) and read_state."""
        await self._called()
        self._fail(received)
        await self._keep([received])

    async def many(self, batch: list[Any]) -> None:
        """For Route(handle_batch=…): all or nothing."""
        await self._called()
        for received in batch:
            self._fail(received)
        await self._keep(batch)

    async def _called(self) -> None:
        self.calls += 1
        async with self._changed:
            self._changed.notify_all()

    async def _keep(self, batch: list[Any]) -> None:
        async with self._changed:
            self.received += batch
            self._changed.notify_all()

    @property
    def payloads(self) -> list[Any]:
        """What was heard, without the envelopes."""
        return [received.event.payload for received in self.received]

    async def until(self, count: int, within_s: float = 30.0) -> None:
        """Returns when that many have been taken in."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= count)

    async def until_calls(self, count: int, within_s: float = 30.0) -> None:
        """Returns when the handler has been called that often, whatever came of it."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: self.calls >= count)
