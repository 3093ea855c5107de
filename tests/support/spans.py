"""Spans kept in memory, for tests of what is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gyrostat_common.telemetry import tracing


class Spans:
    """What has ended so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def finished(self) -> list[ReadableSpan]:
        """In the order of their ends."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.finished() if span.name == name]


@contextmanager
def recorded(ratio: float = 0.0) -> Iterator[Spans]:
    """Records spans while the block runs; roots without a caller at the ratio."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_links=tracing.MOST_LINKS))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = tracing.activate(provider.get_tracer("test"), ratio)
    try:
        yield Spans(exporter)
    finally:
        tracing.activate(*before)
        provider.shutdown()
