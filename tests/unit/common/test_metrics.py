"""Histograms count what Prometheus counts, at less cost; what they show is what its own would."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_common.telemetry import metrics

amounts = st.lists(st.sampled_from([0.0, 0.0005, 0.00050001, 0.001, 0.3, 29.9, 30.0, 31.0, 1e9]) | st.floats(0, 1e6))


@given(amounts)
def test_a_histogram_shows_what_the_librarys_own_shows(seen: list[float]):
    ours, theirs = prometheus_client.CollectorRegistry(), prometheus_client.CollectorRegistry()
    own = metrics.Histogram("took_seconds", "Times", ("code",), ours, metrics.SECONDS)
    library = prometheus_client.Histogram("took_seconds", "Times", ("code",), registry=theirs, buckets=metrics.SECONDS)
    for amount in seen:
        own.labels("OK").observe(amount)
        library.labels("OK").observe(amount)
    shown = [line for line in prometheus_client.generate_latest(theirs).splitlines() if b"_created" not in line]
    assert prometheus_client.generate_latest(ours).splitlines() == shown


def test_one_without_labels_is_there_before_the_first_observation():
    registry = prometheus_client.CollectorRegistry()
    own = metrics.Histogram("took_seconds", "Times", (), registry, (0.1, 1.0))
    assert b"took_seconds_count 0.0" in prometheus_client.generate_latest(registry)
    own.observe(0.1)
    assert b'took_seconds_bucket{le="0.1"} 1.0' in prometheus_client.generate_latest(registry)


def test_labels_are_as_many_as_were_declared():
    own = metrics.Histogram("took_seconds", "Times", ("a", "b"), prometheus_client.CollectorRegistry(), (1.0,))
    with pytest.raises(ValueError, match="has the labels"):
        own.labels("one")


def test_a_name_asked_for_twice_is_one_metric():
    first = metrics.histogram("gyrostat_test_once_seconds", "Times", ("a",))
    assert metrics.histogram("gyrostat_test_once_seconds", "Times", ("a",)) is first
    with pytest.raises(ValueError, match="exists already"):
        metrics.histogram("gyrostat_test_once_seconds", "Times", ("b",))
