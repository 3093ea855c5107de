"""Tests of a window against the version's profile: per feature and for the score, on frozen bins, corrected for their
number.

Significant = Benjamini-Hochberg at the policy's false discovery rate AND an effect that matters. Where the reference
knows that daily means wander more than independent rows would (weather, seasons), the row count is divided by that
design effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gyrostat_common.profile import Between, Category, Feature, Profile
from gyrostat_monitor.domain.findings import Finding, Kind, Statistic
from gyrostat_monitor.domain.frames import Floats, Ints
from gyrostat_monitor.domain.policy import DAY_S, Policy
from gyrostat_monitor.domain.ticks import SCORE, Layout, Tick

HYSTERESIS = 0.8
"""A window is calm below this share of the effect floor."""
DEPENDENT = 1.5
"""Design effect above which rows of one day are treated as dependent."""


@dataclass(frozen=True)
class Tested:
    """One scalar's test before correction."""

    main: Statistic
    others: tuple[Statistic, ...]
    p: float
    effect: float


def statistics(profile: Profile, layout: Layout, tick: Tick, policy: Policy) -> tuple[Statistic, ...]:
    """Every statistic of the window, tested scalars first in profile order, the score last. Empty without rows."""
    if tick.rows == 0:
        return ()
    tested = [t for f in profile.features if (t := _feature(f, layout, tick)) is not None]
    score = _numbers(
        SCORE, layout, tick, profile.score.distribution(np.array(profile.score.counts)),
        profile.score.distribution(layout.counts(tick.vector, SCORE)), profile.score.mean, profile.score.sd,
        profile.score.between, 1.0,
    )  # fmt: skip
    if score is not None:
        tested.append(score)
    if not tested:
        return ()
    adjusted = _discoveries([t.p for t in tested])
    out: list[Statistic] = []
    for test, p in zip(tested, adjusted, strict=True):
        significant = bool(p < policy.fdr and test.effect >= policy.effect_floor)
        out.append(replace(test.main, p_adjusted=float(p), significant=significant))
        out.extend(replace(s, p_adjusted=float(p)) for s in test.others)
    return tuple(out)


def _discoveries(p_values: list[float]) -> Floats:
    """Each p adjusted so that a bound on it bounds the false discovery rate (Benjamini and Hochberg, 1995).

    The same numbers as scipy.stats, whose import alone takes longer than the rest of the monitor's start.
    """
    p = np.array(p_values)
    falling = np.argsort(p)[::-1]
    adjusted: Floats = np.empty(len(p))
    adjusted[falling] = np.minimum(np.minimum.accumulate(p[falling] * len(p) / np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def findings(stats: tuple[Statistic, ...], policy: Policy) -> tuple[Finding, Finding]:
    """DATA from the features, PREDICTION from the score."""
    features = [s for s in stats if s.scalar != SCORE]
    score = [s for s in stats if s.scalar == SCORE]
    return _finding(Kind.DATA, features, policy), _finding(Kind.PREDICTION, score, policy)


def _finding(kind: Kind, stats: list[Statistic], policy: Policy) -> Finding:
    moved = sorted((s for s in stats if s.significant), key=lambda s: -abs(s.value) * (0.1 + s.importance))
    effects = {s.scalar: 0.0 for s in stats}
    for s in stats:
        if s.p_adjusted < policy.fdr and s.statistic in ("mean_shift_sd", "ks", "cramers_v"):
            effects[s.scalar] = max(effects[s.scalar], abs(s.value))
    largest = max(effects.values(), default=0.0)
    importance = sum({s.scalar: max(s.importance, 0.0) for s in stats}.values())
    touched = sum({s.scalar: max(s.importance, 0.0) for s in moved}.values()) / importance if importance else 1.0
    names = ", ".join(s.text for s in moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
    what = "Scores" if kind is Kind.PREDICTION else "Inputs"
    return Finding(
        kind, bool(moved), not moved and largest < HYSTERESIS * policy.effect_floor, largest,
        min(1.0, largest) * touched if moved else 0.0, tuple(moved),
        f"{what} moved: {names}" if moved else f"{what} are as in the reference",
    )  # fmt: skip


def _feature(feature: Feature, layout: Layout, tick: Tick) -> Tested | None:
    reference = feature.distribution(np.array(feature.counts))
    current = feature.distribution(layout.counts(tick.vector, feature.name))
    if isinstance(feature, Category):
        return _categories(feature, reference, current)
    return _numbers(
        feature.name, layout, tick, reference, current, feature.mean, feature.sd, feature.between, feature.importance
    )


def _numbers(
    name: str, layout: Layout, tick: Tick, reference: Ints, current: Ints, mean: float, sd: float,
    between: tuple[Between, ...], importance: float,
) -> Tested | None:  # fmt: skip
    """Kolmogorov-Smirnov on the grid of bins, mean shift in reference standard deviations."""
    n, m = int(current.sum()), int(reference.sum())
    if n == 0 or m == 0:
        return None
    distance = float(np.abs(np.cumsum(current) / n - np.cumsum(reference) / m).max())
    design = design_effect(sd, between)
    effective = max(n * m / (n + m) / design, 0.5)
    p = float(special.kolmogorov(distance * np.sqrt(effective)))
    now = layout.moments(tick.vector, name)
    shift = (now.mean - mean) / sd if sd else 0.0
    text = f"{name} {mean:.3g} → {now.mean:.3g} ({shift:+.2f} sd)"
    main = Statistic(name, "mean_shift_sd", shift, p, False, mean, now.mean, importance, text)
    ks = Statistic(name, "ks", distance, p, False, 0.0, distance, importance)
    psi = Statistic(name, "psi", _psi(reference, current), p, False, 0.0, 0.0, importance)
    return Tested(main, (ks, psi), p, max(abs(shift), distance))


def _categories(feature: Category, reference: Ints, current: Ints) -> Tested | None:
    """G-test of the two-row table, effect by Cramér's V."""
    n, m = int(current.sum()), int(reference.sum())
    used = (reference + current) > 0
    if n == 0 or m == 0 or used.sum() < 2:
        return None
    table = np.stack([reference[used], current[used]]).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / (n + m)
    g = 2.0 * float((table * np.log(np.where(table > 0, table / expected, 1.0))).sum())
    # V of two samples of equal size: an effect must not depend on how long the reference is.
    p_share, q_share = table[0] / m, table[1] / n
    v = float(np.sqrt(0.5 * ((p_share - q_share) ** 2 / (p_share + q_share)).sum()))
    p = float(special.chdtrc(used.sum() - 1, max(g, 0.0)))
    share = current / n - reference / m
    names = (*feature.top, "other", "unseen")
    most = int(np.abs(share).argmax())
    text = f"{feature.name} (V {v:.2f}; {names[most]} {reference[most] / m:.1%} → {current[most] / n:.1%})"
    main = Statistic(
        feature.name, "cramers_v", v, p, False, float(reference[most] / m), float(current[most] / n),
        feature.importance, text,
    )  # fmt: skip
    psi = Statistic(feature.name, "psi", _psi(reference, current), p, False, 0.0, 0.0, feature.importance)
    return Tested(main, (psi,), p, v)


def design_effect(sd: float, between: tuple[Between, ...]) -> float:
    """Variance of daily means over what independent rows would give; 1 when not above 1.5 or unknown."""
    for b in between:
        if b.period_s == DAY_S and sd > 0 and b.rows > 0:
            effect = b.mean_sd**2 / (sd**2 / b.rows)
            return effect if effect > DEPENDENT else 1.0
    return 1.0


def _psi(reference: Ints, current: Ints) -> float:
    """Population stability index with its null mean (B-1)(1/n + 1/m) removed."""
    n, m, bins = current.sum(), reference.sum(), len(reference)
    p, q = (current + 0.5) / (n + bins / 2), (reference + 0.5) / (m + bins / 2)
    return float(((p - q) * np.log(p / q)).sum() - (bins - 1) * (1 / n + 1 / m))
