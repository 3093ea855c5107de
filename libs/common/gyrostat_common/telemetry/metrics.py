"""Counters, gauges and histograms for /metrics, thin over prometheus_client. A name asked for twice is one metric."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Join = Callable[[Iterable[Metric]], Iterable[Metric]]


class _Registry(CollectorRegistry):
    """One that may speak for other processes too."""

    join: Join | None = None

    def collect(self) -> Iterable[Metric]:
        own = super().collect()
        return own if self.join is None else self.join(own)


REGISTRY = _Registry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
_made: dict[str, Any] = {}

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Observations:
    """What one set of labels has seen. From one thread only: no lock, which is most of what an observation costs."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount


class Histogram(Collector):
    """Counts by upper bound of bucket. Whoever observes often keeps what `labels` gave."""

    def __init__(
        self, name: str, help: str, labels: tuple[str, ...], registry: CollectorRegistry, buckets: Sequence[float]
    ) -> None:
        self._name, self._help, self._labelnames, self._bounds = name, help, labels, tuple(buckets)
        self._seen: dict[tuple[str, ...], Observations] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Observations:
        """Values in the order of the names."""
        seen = self._seen.get(values)
        if seen is None:
            if len(values) != len(self._labelnames):
                raise ValueError(f"metric {self._name} has the labels {self._labelnames}")
            seen = self._seen[values] = Observations(self._bounds)
        return seen

    def observe(self, amount: float) -> None:
        """Without labels."""
        self.labels().observe(amount)

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._help, labels=self._labelnames)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._labelnames)
        bounds = [*map(repr, self._bounds), "+Inf"]
        for values, seen in list(self._seen.items()):
            family.add_metric(values, list(zip(bounds, accumulate(seen.counts), strict=True)), seen.total)
        yield family


M = TypeVar("M", Counter, Gauge, Histogram)


def counter(name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """Only grows. Prometheus adds `_total` to the name."""
    return _one(Counter, name, help, labels)


def gauge(name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """Goes up and down."""
    return _one(Gauge, name, help, labels)


def histogram(name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> Histogram:
    """Counts by upper bound of bucket, in the unit that the name ends with."""
    return _one(Histogram, name, help, labels, buckets=buckets)


def _one(kind: type[M], name: str, help: str, labels: Sequence[str], **options: Any) -> M:
    made = _made.get(name)
    if made is None:
        made = _made[name] = kind(name, help, tuple(labels), registry=REGISTRY, **options)
    if not isinstance(made, kind) or made._labelnames != tuple(labels):
        raise ValueError(f"metric {name} exists already with another type or other labels")
    return made


@contextmanager
def joined(join: Join) -> Iterator[None]:
    """While the block runs, what is read is what `join` makes of this process's own families."""
    REGISTRY.join = join
    try:
        yield
    finally:
        REGISTRY.join = None


def render() -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(REGISTRY)
