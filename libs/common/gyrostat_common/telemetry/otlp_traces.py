"""Sends by OTLP the spans that the gate in `tracing` lets through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gyrostat_common.telemetry import tracing
from gyrostat_common.telemetry.ending import ended_within


@contextmanager
def exporting_traces(resource: Resource, ratio: float) -> Iterator[None]:
    """While the block runs. The gate has decided: what reaches the SDK is recorded."""
    limits = SpanLimits(max_links=tracing.MOST_LINKS)
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    before = tracing.activate(provider.get_tracer("gyrostat"), ratio)
    try:
        yield
    finally:
        tracing.activate(*before)
        ended_within(provider.shutdown, 5.0)
