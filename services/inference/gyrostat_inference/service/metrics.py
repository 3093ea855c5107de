"""What Prometheus scrapes: our histogram, and the names that Triton's dashboards know, read from the true counters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gyrostat_common import telemetry
from gyrostat_common.telemetry import metrics
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.live import LiveModels

LABELS = ("model", "version")
_NAMES: tuple[tuple[str, str, Callable[[Counters], float]], ...] = (
    ("nv_inference_request_success", "Requests answered", lambda c: c.success.count),
    ("nv_inference_request_failure", "Requests that failed", lambda c: c.fail.count),
    ("nv_inference_count", "Rows scored, shadows included", lambda c: c.inferences),
    ("nv_inference_exec_count", "Runs of the graph", lambda c: c.executions),
    ("nv_inference_request_duration_us", "Time in requests", lambda c: c.success.ns // 1000),
    ("nv_inference_queue_duration_us", "Time in queues", lambda c: c.queue.ns // 1000),
    ("nv_inference_compute_infer_duration_us", "Time in the graph", lambda c: c.compute_infer.ns // 1000),
)


class Meters:
    """Counts answers with cached children, because finding one by its labels costs a microsecond."""

    def __init__(self) -> None:
        self._seconds = telemetry.histogram(
            "gyrostat_inference_request_duration_seconds",
            "From decoded request to answer in the spool",
            ("model", "version", "variant", "code"),
        )
        self._dropped = telemetry.counter("gyrostat_shadow_dropped_requests", "Shadows not scored", ("model", "reason"))
        self._refused = telemetry.counter(
            "gyrostat_inference_refused_requests",
            "Requests that found no room or no time",
            ("model", "reason"),
        )
        self._children: dict[tuple[str, int, str, str], Any] = {}

    def answered(self, model: str, version: int, variant: str, code: str, seconds: float) -> None:
        key = (model, version, variant, code)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(model, str(version), variant, code)
        child.observe(seconds)

    def refused(self, model: str, reason: str) -> None:
        self._refused.labels(model, reason).inc()

    def shadow_dropped(self, model: str, reason: str) -> None:
        self._dropped.labels(model, reason).inc()


class SpoolRoom(Protocol):
    """How full the spools are."""

    @property
    def used_ratio(self) -> float: ...
    @property
    def share(self) -> float: ...


class _Collector:
    """Reads counters at the scrape, so that counting costs the request nothing."""

    def __init__(self, models: LiveModels, room: SpoolRoom) -> None:
        self._models, self._room = models, room

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        versions = [(live, v) for live in self._models.models() for v in live.loaded.values()]
        for name, text, read in _NAMES:
            # Triton's names to the letter: a family of counters would put _total behind them.
            family = Metric(name, text, "unknown")
            for _, version in versions:
                labels = {"model": version.model, "version": str(version.number)}
                family.add_sample(name, labels, read(version.counters))
            yield family
        pinned = CounterMetricFamily(
            "gyrostat_inference_pinned_requests", "Requests that named their version", labels=LABELS
        )
        for _, version in versions:
            pinned.add_metric((version.model, str(version.number)), version.counters.pinned)
        yield pinned
        used = GaugeMetricFamily(
            "gyrostat_spool_used_ratio", "Share of the spool's bytes or age that is used; alarm at 0.8"
        )
        used.add_metric((), self._room.used_ratio)
        yield used
        kept = GaugeMetricFamily(
            "gyrostat_spool_kept_share", "Share of new predictions that is kept; below 1 while the spool fills"
        )
        kept.add_metric((), self._room.share)
        yield kept
        info = GaugeMetricFamily(
            "gyrostat_live_info", "1 for every loaded version", labels=(*LABELS, "variant", "revision")
        )
        for live, version in versions:
            standing = live.plan.standing(version.number).split(" ")[0]
            info.add_metric((version.model, str(version.number), standing, str(live.plan.revision)), 1)
        yield info


@contextmanager
def exposed(models: LiveModels, room: SpoolRoom) -> Iterator[None]:
    """On /metrics while the block runs."""
    collector = _Collector(models, room)
    metrics.REGISTRY.register(collector)
    try:
        yield
    finally:
        metrics.REGISTRY.unregister(collector)
