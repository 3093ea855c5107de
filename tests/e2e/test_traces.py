"""Traces lead from every sampled call to its event and its archive commit, over parents and links."""

from __future__ import annotations

import asyncio

import pytest

from support.journeys import Traffic, a_live_model, archived, client_of
from support.otlp import ReceivedSpan, Receiver
from support.system import a_system
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(180)]

CALLS = 1_024
# From effect to cause: how the name of each span on the way begins.
STEPS = ("send prediction.logged", "process prediction.logged", "archive")


async def test_parents_and_links_lead_from_every_call_to_its_archive_commit(otlp: Receiver) -> None:
    environ = {**otlp.environ, "GYROSTAT_OTEL__ENABLED": "true", "GYROSTAT_OTEL__SAMPLE_RATIO": "1.0"}
    async with a_system(environ) as system, client_of(system) as client:
        await a_live_model(client, "traced")
        traffic = Traffic(client, "traced")
        # A call a row: a micro-batch of hundreds of rows holds hundreds of calls.
        await asyncio.gather(*(traffic.send(rows=1, outcomes=False) for _ in range(CALLS)))
        last = list(traffic.sent)[-1]
        await eventually(lambda: archived(client, "traced", last), "it is archived")
        events = client.events.tail(["prediction.logged"], model="traced", from_beginning=True, follow=False)
        assert max([event.payload.rows async for event in events]) >= 256
        await eventually(lambda: _all_reached(otlp), "spans lead from each call to the archive")


async def _all_reached(receiver: Receiver) -> bool:
    """Walk from each span of ModelInfer over children and links to send, process and archive."""
    spans = list(receiver.spans)
    calls = [span for span in spans if span.name.endswith("ModelInfer") and span.service.endswith("inference")]
    return len(calls) == CALLS and all(_reached(spans, call) for call in calls)


def _reached(spans: list[ReceivedSpan], call: ReceivedSpan) -> bool:
    reached = {_context(call)}
    for step in STEPS:
        reached = {_context(span) for span in spans if span.name.startswith(step) and reached & _causes(span)}
    return bool(reached)


def _context(span: ReceivedSpan) -> tuple[str, str]:
    return span.trace_id, span.span_id


def _causes(span: ReceivedSpan) -> set[tuple[str, str]]:
    return {(span.trace_id, span.parent_id), *span.links}
