"""Opens telemetry for a process: log lines always; traces, metrics and logs by OTLP over gRPC when it is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from gyrostat_common.settings import OtelSettings, ServiceSettings
from gyrostat_common.telemetry import log


@contextmanager
def open_telemetry(service: str, settings: ServiceSettings) -> Iterator[None]:
    """Configures logging, and exports while the block runs. `service` is the short name, e.g. "registry"."""
    log.configure(settings.log, f"gyrostat-{service}")
    signals = [signal for signal in ("traces", "metrics", "logs") if wanted(settings.otel, signal, os.environ)]
    with ExitStack() as stack:
        if signals:
            _export(stack, service, settings.otel, signals)
        yield


def _export(stack: ExitStack, service: str, settings: OtelSettings, signals: list[str]) -> None:
    # The SDK is imported here: a process that exports nothing starts a third of a second sooner without it.
    from opentelemetry.sdk.resources import Resource

    from gyrostat_common.telemetry.otlp_logs import exporting_logs
    from gyrostat_common.telemetry.otlp_metrics import exporting_metrics
    from gyrostat_common.telemetry.otlp_traces import exporting_traces

    resource = Resource.create({"service.name": f"gyrostat-{service}", "service.namespace": "gyrostat"})
    if "traces" in signals and (ratio := ratio_of(settings, os.environ)) is not None:
        stack.enter_context(exporting_traces(resource, ratio))
    if "metrics" in signals:
        stack.enter_context(exporting_metrics(resource, settings.metrics_interval_s))
    if "logs" in signals:
        stack.enter_context(exporting_logs(resource))


def wanted(settings: OtelSettings, signal: str, environ: Mapping[str, str]) -> bool:
    """Whether "traces", "metrics" or "logs" leave: by our setting, or by the standard variables for all or this one.
    OTEL_SDK_DISABLED and OTEL_<SIGNAL>_EXPORTER=none win.
    """
    mine = signal.upper()
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get(f"OTEL_{mine}_EXPORTER") == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{mine}_ENDPOINT")
    return settings.enabled or any(environ.get(name) for name in endpoints)


def ratio_of(settings: OtelSettings, environ: Mapping[str, str]) -> float | None:
    """Share of calls without a caller's trace that are recorded; None: nothing is, whatever the caller says.

    The standard OTEL_TRACES_SAMPLER and …_ARG win over our own setting. A caller's decision is obeyed with all
    but always_off: what others record would have holes.
    """
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler == "always_off":
        return None
    if sampler in ("always_on", "parentbased_always_on"):
        return 1.0
    if sampler == "parentbased_always_off":
        return 0.0
    try:
        return min(1.0, max(0.0, float(environ["OTEL_TRACES_SAMPLER_ARG"])))
    except (KeyError, ValueError):
        return 1.0 if sampler.endswith("traceidratio") else settings.sample_ratio
