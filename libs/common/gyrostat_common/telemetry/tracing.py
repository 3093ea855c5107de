"""Spans, with an own gate in front: whether a call is traced is decided before a span object exists, because an
unsampled span of the SDK still costs microseconds. Context crosses every edge as a W3C traceparent, by hand.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

__all__ = ["SpanKind", "activate", "current", "current_traceparent", "failed", "parse", "sampled", "span", "start"]

MOST_LINKS = 1024
"""A frame of predictions may have hundreds of sampled parents, one call each; none of them may lose its way."""
_ODD = frozenset("13579bdf")  # the last bit of the flags says: recorded
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class _Active:
    """The tracer of the open telemetry; None while there is none."""

    tracer: trace.Tracer | None = None
    ratio: float = 0.0


def activate(tracer: trace.Tracer | None, ratio: float) -> tuple[trace.Tracer | None, float]:
    """Sets the tracer and the sampling ratio; returns what was set before."""
    before = _Active.tracer, _Active.ratio
    _Active.tracer, _Active.ratio = tracer, ratio
    return before


def parse(traceparent: str) -> SpanContext | None:
    """The span context that a traceparent names; None when there is none or it is malformed."""
    match = _TRACEPARENT.match(traceparent) if traceparent else None
    if match is None:
        return None
    flags = TraceFlags(int(match[3], 16))
    context = SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


def sampled(traceparent: str) -> bool:
    """Whether the caller's trace is being recorded. Costs a comparison, not a parse."""
    return len(traceparent) >= 55 and traceparent[54] in _ODD


def current_traceparent() -> str:
    """The current span as a traceparent; empty when there is none."""
    context = trace.get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else ""


def traceparent_of(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    traceparent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span]:
    """A span around the block, begun as `start` says. An exception marks it as failed and goes on."""
    started = start(name, kind, traceparent, links, attributes)
    with current(started):
        try:
            yield started
        except GeneratorExit:
            raise
        except BaseException as error:
            failed(started, error)
            raise
        finally:
            if started.is_recording():
                started.end()


def chosen(traceparent: str) -> bool:
    """Whether a call with this traceparent is to be recorded: decided before there is anything to record it with.
    Whoever asks hands the answer to `start`, which would draw lots again.
    """
    if _Active.tracer is None:
        return False
    if sampled(traceparent):
        match = _TRACEPARENT.match(traceparent)
        if match is not None and match[1] != _NO_TRACE and match[2] != _NO_SPAN:
            return True
    if not (_Active.ratio > 0 and random.random() < _Active.ratio):
        return False
    return parse(traceparent) is None  # a trace of the caller's stays unrecorded; that is read for the few drawn alone


def start(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    traceparent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
    wanted: bool | None = None,
) -> Span:
    """A span that is not current yet; whoever starts it ends it. `wanted`: what `chosen` has decided.

    `traceparent` None: child of the current span. Given: child of that remote one (empty: a new root, sampled at the
    ratio). Links that are not sampled are left out; a root with a sampled link is always recorded. What is not recorded
    comes back as the parent's context alone, so that it travels on and log lines name it.
    """
    parent = trace.get_current_span().get_span_context() if traceparent is None else parse(traceparent)
    linked = [found for link in links if sampled(link) and (found := parse(link))][:MOST_LINKS]
    if parent is not None and parent.is_valid:
        wanted = parent.trace_flags.sampled or bool(linked) if wanted is None else wanted
    else:
        parent = None
        if wanted is None:
            wanted = bool(linked) or (_Active.ratio > 0 and random.random() < _Active.ratio)
    if _Active.tracer is None or not wanted:
        return NonRecordingSpan(parent) if parent else trace.INVALID_SPAN
    if parent is not None and not parent.trace_flags.sampled:
        parent = None  # a recorded child of an unrecorded parent would be an orphan: begin a trace, keep the links
    context = trace.set_span_in_context(NonRecordingSpan(parent)) if parent else otel_context.Context()
    return _Active.tracer.start_span(
        name, context, kind, attributes=dict(attributes or {}), links=[Link(one) for one in linked]
    )


@contextmanager
def current(started: Span) -> Iterator[None]:
    """Makes a span the one that the block is in."""
    token = otel_context.attach(trace.set_span_in_context(started))
    try:
        yield
    finally:
        otel_context.detach(token)


def failed(started: Span, error: BaseException) -> None:
    """Marks a span with the type of an error, never with its text."""
    if started.is_recording():
        started.set_status(Status(StatusCode.ERROR, type(error).__name__))
        started.set_attribute("error.type", type(error).__name__)
