"""Spans around sending and processing, by OpenTelemetry's messaging conventions. No span for what nobody sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind

from gyrostat_common.bus.event import Event, Received
from gyrostat_common.telemetry import tracing


@contextmanager
def sending(topic: str, event: Event) -> Iterator[tuple[Span | None, str]]:
    """Yields the span, if any, and the traceparent for the record."""
    parent = event.traceparent or tracing.current_traceparent()
    if not tracing.sampled(parent) and not any(map(tracing.sampled, event.links)):
        yield None, parent
        return
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": event.id,
        **({"messaging.kafka.message.key": event.key} if event.key else {}),
    }
    with tracing.span(f"send {topic}", SpanKind.PRODUCER, parent, event.links, attributes) as span:
        yield span, tracing.current_traceparent() or parent


def sent(span: Span | None, partition: int, offset: int) -> None:
    """Adds where the record came to lie."""
    if span is not None:
        span.set_attribute("messaging.destination.partition.id", str(partition))
        span.set_attribute("messaging.kafka.offset", offset)


@contextmanager
def processing(topic: str, group: str, received: Sequence[Received]) -> Iterator[None]:
    """One record: child of its sender's span. A batch: a trace of its own with a link to each sampled sender."""
    first, empty = received[0], tuple[str, ...]()
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": group,
        "messaging.destination.partition.id": str(first.partition),
    }
    if len(received) == 1:
        attributes |= {"messaging.kafka.offset": first.offset, "messaging.message.id": first.event.id}
        parent, links = first.event.traceparent, empty
        if not parent:
            yield
            return
    else:
        parents = tuple(one.event.traceparent for one in received if tracing.sampled(one.event.traceparent))
        attributes["messaging.batch.message_count"] = len(received)
        parent, links = "", parents
        if not links:
            yield
            return
    with tracing.span(f"process {topic}", SpanKind.CONSUMER, parent, links, attributes):
        yield
