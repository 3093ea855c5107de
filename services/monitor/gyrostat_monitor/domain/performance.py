"""Realised loss of a window against the reference's: worse by more than the floor, and more than chance or weather
explains.
"""

from __future__ import annotations

from math import sqrt

from gyrostat_common.profile import ReferenceLoss
from gyrostat_monitor.domain.findings import Finding, Kind, Statistic
from gyrostat_monitor.domain.policy import DAY_S, Policy
from gyrostat_monitor.domain.quality import QualitySums

Z = 2.326
"""One-sided 99 %."""
MIN_OUTCOMES = 50


def finding(reference: ReferenceLoss, sums: QualitySums, window_s: float, policy: Policy) -> Finding:
    """PERFORMANCE verdict.

    Bad when the mean loss lies above the reference's interval and above reference x (1 + loss_floor), and the gap to
    the reference is significant with row noise, the reference's own error and its day-to-day spread taken together.
    """
    if sums.outcomes < MIN_OUTCOMES:
        return Finding(Kind.PERFORMANCE, False, False, summary=f"only {sums.outcomes} outcomes")
    mean = sums.mean("loss")
    floor = reference.mean * (1.0 + policy.loss_floor)
    gap = mean - reference.mean
    error = sqrt(
        sums.loss_se() ** 2
        + ((reference.upper - reference.lower) / 3.92) ** 2
        + _between_days(reference) ** 2 / max(window_s / DAY_S, 1.0)
    )
    significant = gap > Z * error
    bad = mean > max(reference.upper, floor) and significant
    relative = gap / reference.mean if reference.mean else 0.0
    calm = mean < reference.mean * (1.0 + 0.8 * policy.loss_floor) or gap < 0.5 * Z * error
    text = f"loss {reference.mean:.4f} → {mean:.4f} ({relative:+.1%}) over {sums.outcomes} outcomes"
    evidence = Statistic("outcome", "loss", mean, float("nan"), bad, reference.mean, mean, 1.0, text)
    return Finding(
        Kind.PERFORMANCE, bad, not bad and calm, relative, min(1.0, max(0.0, relative)) if bad else 0.0,
        (evidence,), f"Realised {text}",
    )  # fmt: skip


def _between_days(reference: ReferenceLoss) -> float:
    """Spread of daily mean losses beyond what their row counts explain."""
    rows = reference.rows / max(reference.days, 1)
    return sqrt(max(reference.day_sd**2 - reference.row_sd**2 / max(rows, 1.0), 0.0))
