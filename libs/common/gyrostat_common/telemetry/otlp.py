"""Opens telemetry for a process: log lines always; traces, metrics and logs by OTLP over gRPC when it is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gyrostat_common.settings import OtelSettings, ServiceSettings
from gyrostat_common.telemetry import log, tracing
from gyrostat_common.telemetry.ending import ended_within
from gyrostat_common.telemetry.otlp_logs import exporting_logs
from gyrostat_common.telemetry.otlp_metrics import exporting_metrics


@contextmanager
def open_telemetry(service: str, settings: ServiceSettings) -> Iterator[None]:
    """Configures logging, and exports while the block runs. `service` is the short name, e.g. "registry"."""
    log.configure(settings.log, f"gyrostat-{service}")
    with ExitStack() as stack:
        if wanted(settings.otel):
            resource = Resource.create({"service.name": f"gyrostat-{service}", "service.namespace": "gyrostat"})
            stack.enter_context(_exporting_traces(resource, settings.otel.sample_ratio))
            stack.enter_context(exporting_metrics(resource, settings.otel.metrics_interval_s))
            stack.enter_context(exporting_logs(resource))
        yield


def wanted(settings: OtelSettings) -> bool:
    """By our setting or by the standard variables; OTEL_SDK_DISABLED wins."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return settings.enabled or bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


@contextmanager
def _exporting_traces(resource: Resource, ratio: float) -> Iterator[None]:
    # The gate in `tracing` has decided: what reaches the SDK is recorded.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    before = tracing.activate(provider.get_tracer("gyrostat"), _ratio(ratio))
    try:
        yield
    finally:
        tracing.activate(*before)
        ended_within(provider.shutdown, 5.0)


def _ratio(ours: float) -> float:
    """The standard OTEL_TRACES_SAMPLER_ARG wins over our own setting."""
    try:
        return min(1.0, max(0.0, float(os.environ["OTEL_TRACES_SAMPLER_ARG"])))
    except (KeyError, ValueError):
        return ours
