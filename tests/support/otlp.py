"""An OTLP receiver in the test's own process: give a service its `environ` and look at what arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came over the wire; ids in hexadecimal, as in a traceparent."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    """(trace id, span id)."""
    kind: int
    attributes: Mapping[str, Any]
    failed: bool


@dataclass(frozen=True)
class ReceivedLog:
    """A log line."""

    service: str
    body: str
    severity: str
    attributes: Mapping[str, Any]
    trace_id: str


@dataclass
class Receiver:
    """What has arrived so far; grows while the test runs."""

    endpoint: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    logs: list[ReceivedLog] = field(default_factory=list)
    metrics: dict[tuple[str, str], Any] = field(default_factory=dict)
    """(service, metric name) → the newest opentelemetry.proto Metric."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def environ(self) -> dict[str, str]:
        """For a process that is to send here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
            "GYROSTAT_OTEL__METRICS_INTERVAL_S": "0.5",
        }

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def until(self, condition: Callable[[], object], within_s: float = 30.0) -> None:
        """Returns when the condition holds; from async code: `await asyncio.to_thread(receiver.until, …)`."""
        with self.changed:
            assert self.changed.wait_for(lambda: bool(condition()), within_s), "what was expected did not arrive"


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:
        with self._receiver.changed:
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_spans:
                    self._receiver.spans += [_span(service, span) for span in scope.spans]
            self._receiver.changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:
        with self._receiver.changed:
            for resource in request.resource_metrics:
                service = _attributes(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_metrics:
                    self._receiver.metrics |= {(service, metric.name): metric for metric in scope.metrics}
            self._receiver.changed.notify_all()
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:
        with self._receiver.changed:
            for resource in request.resource_logs:
                service = _attributes(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_logs:
                    self._receiver.logs += [_log(service, record) for record in scope.log_records]
            self._receiver.changed.notify_all()
        return logs_service_pb2.ExportLogsServiceResponse()


def _span(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        kind=span.kind,
        attributes=_attributes(span.attributes),
        failed=span.status.code == 2,
    )


def _log(service: str, record: Any) -> ReceivedLog:
    return ReceivedLog(
        service, record.body.string_value, record.severity_text, _attributes(record.attributes), record.trace_id.hex()
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listens on a free loopback port while the block runs."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="otlp-receiver"))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(receiver), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(receiver), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(receiver), server)
    port = server.add_insecure_port("127.0.0.1:0")
    receiver.endpoint = f"http://127.0.0.1:{port}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0.5).wait()


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    """A receiver of this test's own."""
    with receiving() as receiver:
        yield receiver
