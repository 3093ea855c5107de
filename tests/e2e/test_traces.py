"""Traces lead from a sampled call to its event and its archive commit; causes from a promotion to predictions."""

from __future__ import annotations

import asyncio

import pytest
from support.otlp import Receiver, otlp_receiver

from support.journeys import Traffic, a_live_model, archived, client_of, eventually
from support.system import a_system

pytestmark = [pytest.mark.timeout(180)]

PATH = ("ModelInfer", "send prediction.logged", "process prediction.logged", "archive")


async def test_parents_and_links_lead_from_a_call_to_its_archive_commit() -> None:
    async with otlp_receiver() as receiver:
        otel = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "GYROSTAT_OTEL__ENABLED": "true",
            "GYROSTAT_OTEL__SAMPLE_RATIO": "1.0",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        async with a_system(otel) as system, client_of(system) as client:
            await a_live_model(client, "traced")
            traffic = Traffic(client, "traced")
            await asyncio.gather(*(traffic.send(rows=16, outcomes=False) for _ in range(32)))
            last = list(traffic.sent)[-1]
            await eventually(lambda: archived(client, "traced", last), "it is archived")
            await eventually(lambda: _reached(receiver), "spans lead from a call to the archive")


async def _reached(receiver: Receiver) -> bool:
    """Walk from any ModelInfer span over children and links to send, process and archive."""
    spans = receiver.spans()
    starts = [span for span in spans if span.name.endswith(PATH[0])]
    reached: set[str] = {start.context for start in starts}
    for step in PATH[1:]:
        following = {
            span.context
            for span in spans
            if span.name.startswith(step) and (span.parent in reached or reached & set(span.links))
        }
        if not following:
            return False
        reached = following
    return True
