"""Sends by OTLP what /metrics shows: the Prometheus registry is read now and then and translated, so that a counter is
counted once whatever the number of places that want to know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from gyrostat_common.telemetry.metrics import REGISTRY

_CUMULATIVE = AggregationTemporality.CUMULATIVE


@contextmanager
def exporting_metrics(resource: Resource, interval_s: float) -> Iterator[None]:
    """A thread exports every `interval_s` and once at the end."""
    exporter = OTLPMetricExporter()
    stop, started_ns = threading.Event(), time.time_ns()

    def export_until_stopped() -> None:
        last = False
        while not last:
            last = stop.wait(interval_s)
            with suppress(Exception):  # the next export may work; nobody waits for this one
                exporter.export(translated(REGISTRY.collect(), resource, started_ns, time.time_ns()))
        exporter.shutdown()

    thread = threading.Thread(target=export_until_stopped, name="otlp-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5.0)


def translated(families: Iterable[Family], resource: Resource, start_ns: int, now_ns: int) -> MetricsData:
    """Prometheus families as OTLP metrics: counters as sums that only grow, others as gauges."""
    metrics = [metric for family in families if (metric := _metric(family, start_ns, now_ns))]
    scope = ScopeMetrics(InstrumentationScope("gyrostat"), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, start_ns: int, now_ns: int) -> Metric | None:
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        data = Histogram(_histogram_points(family.samples, start_ns, now_ns), _CUMULATIVE)
    elif family.type == "counter":
        totals = [sample for sample in family.samples if sample.name.endswith("_total")]
        data = Sum(_points(totals, start_ns, now_ns), _CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge(_points(family.samples, start_ns, now_ns))
    return Metric(family.name, family.documentation, family.unit, data) if data.data_points else None


def _points(samples: Iterable[Sample], start_ns: int, now_ns: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(dict(sample.labels), start_ns, now_ns, sample.value) for sample in samples]


def _histogram_points(samples: Iterable[Sample], start_ns: int, now_ns: int) -> list[HistogramDataPoint]:
    cumulative: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        if sample.name.endswith("_bucket"):
            cumulative.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, buckets in cumulative.items():
        counts = [int(upper) for _, upper in buckets]
        each = [count - before for count, before in zip(counts, [0, *counts[:-1]], strict=True)]
        bounds = [bound for bound, _ in buckets[:-1]]
        total = counts[-1]
        points.append(
            HistogramDataPoint(
                dict(labels), start_ns, now_ns, total, sums.get(labels, 0.0), each, bounds, float("nan"), float("nan")
            )
        )
    return points
