"""Gauges for dashboards: drift state by version and kind, label coverage and lag, consumer lag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gyrostat_common import telemetry
from gyrostat_monitor.domain.alerts import Firing
from gyrostat_monitor.usecases.watch import Figures


class Gauges:
    """Shows what the watch found."""

    def __init__(self) -> None:
        self._drift = telemetry.gauge(
            "gyrostat_drift_state", "1 while an episode is open", ("model", "version", "kind")
        )
        self._coverage = telemetry.gauge(
            "gyrostat_label_coverage_ratio", "Share of answers with an outcome", ("model",)
        )
        self._lag = telemetry.gauge("gyrostat_label_lag_seconds", "Median event time to the outcome", ("model",))
        self._behind = telemetry.gauge(
            "gyrostat_consumer_stuck_seconds",
            "Wall time that a group has had records waiting and not moved, as the monitor sees it in the log",
            ("group", "topic"),
        )
        self._firing = telemetry.gauge("gyrostat_alerts_firing", "Alerts that fire now", ("rule",))
        self._rules: set[str] = set()
        self._shown: set[tuple[str, str, str]] = set()

    def alerts(self, firing: Sequence[Firing]) -> None:
        """A rule that has fired stays, at 0."""
        counts = Counter(one.alert.rule for one in firing)
        self._rules |= counts.keys()
        for rule in self._rules:
            self._firing.labels(rule).set(counts[rule])

    def show(self, behind: Mapping[str, float], figures: Sequence[Figures]) -> None:
        """Sets every gauge; a closed episode goes to 0."""
        for place, seconds in behind.items():
            self._behind.labels(*place.split("/", 1)).set(seconds)
        for f in figures:
            self._coverage.labels(f.model).set(f.coverage)
            self._lag.labels(f.model).set(f.lag_s)
            opened = {(f.model, str(version), kind) for version, kind in f.open_kinds}
            for labels in opened | {s for s in self._shown if s[0] == f.model}:
                self._drift.labels(*labels).set(1 if labels in opened else 0)
            self._shown |= opened
