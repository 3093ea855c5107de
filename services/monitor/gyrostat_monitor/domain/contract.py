"""The data contract, checked on short sub-windows: missing values, unseen categories, numbers out of range, event
times in
the future. Shares are compared with the reference's own; small shares and features that often lack a value stay silent.
"""

from __future__ import annotations

from math import sqrt

from gyrostat_common.profile import Category, Feature, Profile
from gyrostat_monitor.domain.findings import Statistic
from gyrostat_monitor.domain.ticks import FUTURE, Layout, Tick

FLOORS = {"missing_share": 0.30, "unseen_share": 0.05, "out_of_range_share": 0.10, "future_event_time_share": 0.02}
"""A share must exceed the reference's by this much."""
Z = 5.0
"""And by this many standard errors."""


def violations(profile: Profile | None, layout: Layout, tick: Tick, slack: float = 1.0) -> tuple[Statistic, ...]:
    """What breaks the contract, worst first. `slack` < 1 asks for less (hysteresis)."""
    if tick.rows == 0:
        return ()
    future = _violation(
        "event time", "future_event_time_share", int(tick.vector[FUTURE]), tick.rows, 0.0, 1.0, slack, "in the future"
    )
    found = [future] if future else []
    for feature in profile.features if profile else ():
        found.extend(_of_feature(feature, layout, tick, slack))
    return tuple(sorted(found, key=lambda s: (-s.value, s.scalar)))


def _of_feature(feature: Feature, layout: Layout, tick: Tick, slack: float) -> list[Statistic]:
    counts = layout.counts(tick.vector, feature.name)
    n = int(counts.sum())
    if n == 0:
        return []
    reference = feature.missing_share
    # A feature that is often missing goes missing in stretches: the floor widens with its own spread.
    wide = 4.0 * sqrt(reference * (1.0 - reference))
    checks = [("missing_share", int(counts[-1]), reference, "missing", wide)]
    if isinstance(feature, Category):
        checks.append(("unseen_share", int(counts[-2]), 0.0, "never seen in the reference", 0.0))
    else:
        checks.append(("out_of_range_share", int(counts[-2] + counts[-3]), 0.0, "far outside the reference", 0.0))
    found = [
        _violation(feature.name, name, k, n, ref, feature.importance, slack, words, extra)
        for name, k, ref, words, extra in checks
    ]
    return [f for f in found if f is not None]


def _violation(
    scalar: str, name: str, rows: int, n: int, reference: float, importance: float, slack: float, words: str,
    extra: float = 0.0,
) -> Statistic | None:  # fmt: skip
    share = rows / n
    error = sqrt(max(reference * (1 - reference), 1.0 / n) / n)
    if share <= reference + slack * max(FLOORS[name], extra) or share <= reference + Z * error:
        return None
    text = f"{scalar}: {share:.1%} {words} (reference {reference:.1%})"
    return Statistic(scalar, name, share, float("nan"), True, reference, share, importance, text)
