"""Judges a roll-out from paired evidence: both versions scored the same requests, and the outcome is known.

With d = clipped loss of the candidate minus that of the baseline, per row:

* harm: a betting e-process for "the mean of d is at most 0" (a mixture over fixed stakes of the wealth Π(1 + λ d));
it may
  be looked at after every row, and passes 1/alpha with probability at most alpha when the candidate does no harm
  (Ville's inequality; Waudby-Smith and Ramdas, arXiv 2010.09686);
* loss: a betting confidence sequence for the mean, from the same wealth against every m; its upper limit below the
margin
  promotes.

Stakes are fixed, so the log wealth is a sum over rows: evidence is a histogram of d, exact and additive, and a
corrected
outcome takes its old row away again.

Rows of one hour share their weather, their customers, their outage: they are not independent, and plain e-values of
real
flights rolled back half of the harmless candidates. The log wealth is therefore divided by the design effect of the
hourly ticks (variance of tick sums over what independent rows would give). A power below one of an e-process is one
too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from gyrostat_monitor.domain.frames import Floats
from gyrostat_monitor.domain.plan import Phase, Rollout
from gyrostat_monitor.domain.policy import RolloutPolicy

STEPS = 2_048
"""Bins on each side of 0: d is kept to 1/2048 of the clip."""
CLIP = 1.0
"""Differences are clipped to ±CLIP x scale; scale is 1 for log loss, four reference sd for an absolute error."""
STAKES = np.array([0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8])
LATENCY_RATIO = 3.0
LATENCY_SHARE = 0.2
ERROR_SHARE = 0.01


class Verdict(StrEnum):
    """What the monitor says of a step."""

    CONTINUE = "continue"
    ADVANCE = "advance"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True)
class Pairs:
    """Histogram of paired differences: bin -2048 … 2048 → rows."""

    bins: Mapping[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Paired rows."""
        return sum(self.bins.values())

    def plus(self, other: Pairs) -> Pairs:
        """The sum."""
        out = dict(self.bins)
        for step, rows in other.bins.items():
            out[step] = out.get(step, 0) + rows
        return Pairs({k: v for k, v in out.items() if v})

    def arrays(self) -> tuple[Floats, Floats]:
        """(differences in units of the clip, rows)."""
        steps = sorted(self.bins)
        return np.array(steps, np.float64) / STEPS, np.array([self.bins[s] for s in steps], np.float64)


def added(parts: Iterable[Pairs]) -> Pairs:
    """The sum of many."""
    out: dict[int, int] = {}
    for part in parts:
        for step, rows in part.bins.items():
            out[step] = out.get(step, 0) + rows
    return Pairs({k: v for k, v in out.items() if v})


def difference_bin(candidate_loss: float, baseline_loss: float, scale: float = 1.0) -> int:
    """Bin of one paired difference."""
    d = (candidate_loss - baseline_loss) / (CLIP * scale)
    return max(-STEPS, min(STEPS, round(d * STEPS)))


def design_effect(ticks: Iterable[Pairs]) -> float:
    """Variance of the ticks' sums over what independent rows would give; at least 1, and 1 with fewer than three
    ticks.
    """
    parts = [t.arrays() for t in ticks if t.bins]
    if len(parts) < 3:
        return 1.0
    d, rows = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    mean = float((d * rows).sum() / rows.sum())
    independent = float((rows * (d - mean) ** 2).sum())
    between = sum(float((r * (x - mean)).sum()) ** 2 for x, r in parts)
    return max(1.0, between / independent) if independent > 0 else 1.0


def harm_e(pairs: Pairs, design: float = 1.0) -> float:
    """e-value against "no harm"; large means harm. 1 without evidence."""
    d, rows = pairs.arrays()
    if len(d) == 0:
        return 1.0
    return _mixture(np.log1p(np.outer(STAKES, d)) @ rows / design)


def limits(pairs: Pairs, alpha: float, design: float = 1.0) -> tuple[float, float]:
    """Confidence sequence (lower, upper) for the mean difference in units of the clip, valid at any time."""
    d, rows = pairs.arrays()
    if len(d) == 0:
        return -1.0, 1.0
    rows = rows / design
    mean = float((d * rows).sum() / rows.sum())

    def upper(x: Floats, start: float) -> float:
        low, high = start, 1.0
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (low, middle) if _against(x, rows, middle) >= 1.0 / alpha else (middle, high)
        return high

    return -upper(-d, -mean), upper(d, mean)


def _against(d: Floats, rows: Floats, m: float) -> float:
    """e-value against "the mean is at least m": stakes on differences below m, scaled so that wealth stays positive."""
    stakes = STAKES / max(1.0, 1.0 - m)
    return _mixture(np.log1p(np.outer(stakes, m - d)) @ rows)


def _mixture(log_wealth: Floats) -> float:
    top = float(log_wealth.max())
    return float(np.exp(min(top, 600.0)) * np.mean(np.exp(log_wealth - top)))


@dataclass(frozen=True)
class Traffic:
    """What one version did in the present step: answers, answers without a valid score, latencies of its answers."""

    answers: int = 0
    scored: int = 0
    """Rows scored in any role."""
    invalid: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Quarter octave of microseconds → answers."""


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict rests on."""

    pairs: Pairs
    """Since the roll-out began."""
    step_pairs: Pairs
    """Since the present step began."""
    design: float
    """Design effect of the pairs' ticks."""
    step_design: float
    candidate: Traffic
    baseline: Traffic
    watermark_us: int
    scale: float = 1.0
    answers: int = 0
    """The candidate's answers in the whole roll-out."""


@dataclass(frozen=True)
class Guard:
    """One guard's part."""

    name: str
    verdict: Verdict
    numbers: Mapping[str, float]
    text: str


@dataclass(frozen=True)
class Judgement:
    """The verdict with its evidence."""

    verdict: Verdict
    guards: tuple[Guard, ...]
    paired_rows: int
    rows_needed: int
    answers: int
    summary: str


def judge(rollout: Rollout, policy: RolloutPolicy, evidence: Evidence) -> Judgement:
    """ROLL_BACK when any guard says so, ADVANCE when all do, else CONTINUE."""
    loss, needed = _loss(policy, evidence)
    guards = (
        _harm(rollout, policy, evidence),
        loss if rollout.phase is not Phase.GUARD else _dwell(rollout, policy, evidence, loss),
        _latency(policy, evidence, rollout.phase),
        _errors(policy, evidence),
        _exposure(rollout, policy, evidence),
    )
    verdicts = {g.verdict for g in guards}
    if Verdict.ROLL_BACK in verdicts:
        verdict = Verdict.ROLL_BACK
    else:
        verdict = Verdict.CONTINUE if Verdict.CONTINUE in verdicts else Verdict.ADVANCE
    reasons = [g.text for g in guards if g.verdict is verdict] or [g.text for g in guards]
    what = {
        Verdict.ROLL_BACK: f"Version {rollout.candidate} is taken back",
        Verdict.ADVANCE: f"Version {rollout.candidate} goes on",
        Verdict.CONTINUE: f"Version {rollout.candidate} stays where it is",
    }[verdict]
    rows = evidence.pairs.rows
    return Judgement(verdict, guards, rows, needed, evidence.answers, f"{what}: {'; '.join(reasons)}.")


def _harm(rollout: Rollout, policy: RolloutPolicy, evidence: Evidence) -> Guard:
    """Harm since the roll-out began, or since the present step: a good start must not hide a bad turn. Half of alpha
    each.
    """
    # A shadow answers nobody: it is given its whole sample, so that one bad afternoon does not end it. Later a quarter
    # of it is asked for, of the whole roll-out and of the step.
    fewest = policy.min_paired_rows // (1 if rollout.phase is Phase.SHADOW else 4)
    e = harm_e(evidence.pairs, evidence.design) / 2 if evidence.pairs.rows >= fewest else 0.0
    if evidence.step_pairs.rows >= fewest:
        # A young step has too few hours to know how alike its rows are: the roll-out's design effect counts if larger.
        e = max(e, harm_e(evidence.step_pairs, max(evidence.design, evidence.step_design)) / 2)
    limit = 1.0 / policy.alpha
    d, rows = evidence.pairs.arrays()
    mean = float((d * rows).sum() / rows.sum()) * CLIP * evidence.scale if len(d) else 0.0
    verdict = Verdict.ROLL_BACK if e >= limit else Verdict.ADVANCE
    numbers = {"e": min(e, 1e300), "limit": limit, "mean_difference": mean, "paired_rows": float(evidence.pairs.rows)}
    numbers["design_effect"] = evidence.design
    text = f"loss differs by {mean:+.4f} over {evidence.pairs.rows} paired rows (harm e {e:.3g} of {limit:.0f})"
    return Guard("harm", verdict, numbers, text)


def _loss(policy: RolloutPolicy, evidence: Evidence) -> tuple[Guard, int]:
    unit = CLIP * evidence.scale
    lower, upper = (x * unit for x in limits(evidence.pairs, policy.alpha, evidence.design))
    rows = evidence.pairs.rows
    needed = max(policy.min_paired_rows, _rows_needed(policy, evidence, unit))
    ready = upper < policy.loss_margin and rows >= policy.min_paired_rows
    numbers = {"lower": lower, "upper": upper, "margin": policy.loss_margin, "paired_rows": float(rows)}
    text = f"loss difference at most {upper:+.4f} (margin {policy.loss_margin:+.4f}) over {rows} paired rows"
    return Guard("loss", Verdict.ADVANCE if ready else Verdict.CONTINUE, numbers, text), needed


def _rows_needed(policy: RolloutPolicy, evidence: Evidence, unit: float) -> int:
    """Rows after which a difference of the present size and spread would be decided; 0 when nothing is known yet."""
    d, rows = evidence.pairs.arrays()
    n = float(rows.sum()) if len(d) else 0.0
    if n < 20:
        return 0
    mean = float((d * rows).sum() / n)
    variance = float((rows * (d - mean) ** 2).sum() / n)
    gap = max(abs(policy.loss_margin / unit - mean), 1e-4)
    return int(min(2.0 * np.log(2.0 / policy.alpha) * evidence.design * variance / gap**2, 1e9))


def _dwell(rollout: Rollout, policy: RolloutPolicy, evidence: Evidence, loss: Guard) -> Guard:
    """After 100 %: time without harm, outcomes enough to have seen it, and the loss still proven not worse.

    Where outcomes are so rare that four times the time does not bring them, time alone decides.
    """
    passed = (evidence.watermark_us - rollout.step_started_us) / max(policy.guard_s * 1e6, 1.0)
    seen = evidence.step_pairs.rows >= policy.min_paired_rows and loss.verdict is Verdict.ADVANCE
    over = passed >= 1.0 and (seen or passed >= 4.0)
    days = (evidence.watermark_us - rollout.step_started_us) / 86_400e6
    text = f"{max(days, 0.0):.1f} of {policy.guard_s / 86_400:.1f} days watched; {loss.text}"
    return Guard("loss", Verdict.ADVANCE if over else Verdict.CONTINUE, loss.numbers, text)


def _latency(policy: RolloutPolicy, evidence: Evidence, phase: Phase) -> Guard:
    """Answers of the candidate slower than three times the baseline's 95th percentile, beyond a share of 20 %."""
    base, cand = evidence.baseline.latencies, evidence.candidate.latencies
    n, m = sum(cand.values()), sum(base.values())
    if phase is not Phase.CANARY or min(n, m) < policy.min_exposure:
        return Guard("latency", Verdict.ADVANCE, {"answers": float(n)}, "too few answers to compare latencies")
    p95, seen = 0, 0
    for step in sorted(base):
        seen += base[step]
        p95 = step
        if seen >= 0.95 * m:
            break
    limit = p95 + int(np.ceil(4 * np.log2(LATENCY_RATIO)))
    slow = sum(rows for step, rows in cand.items() if step > limit)
    e = share_e(slow, n, LATENCY_SHARE)
    numbers = {"slow_share": slow / n, "limit_us": float(2 ** (limit / 4)), "e": min(e, 1e300)}
    verdict = Verdict.ROLL_BACK if e >= 1.0 / policy.alpha else Verdict.ADVANCE
    return Guard(
        "latency", verdict, numbers, f"{slow / n:.1%} of its answers are slower than three times the baseline's p95"
    )


def _errors(policy: RolloutPolicy, evidence: Evidence) -> Guard:
    """Rows that a version could not score, or not with a number, beyond the baseline's own share and one percent."""
    cand, base = evidence.candidate, evidence.baseline
    if cand.scored == 0:
        return Guard("errors", Verdict.ADVANCE, {}, "nothing scored yet")
    usual = base.invalid / base.scored if base.scored else 0.0
    e = share_e(cand.invalid, cand.scored, min(usual + ERROR_SHARE, 0.5))
    verdict = Verdict.ROLL_BACK if e >= 1.0 / policy.alpha else Verdict.ADVANCE
    share = cand.invalid / cand.scored
    return Guard(
        "errors", verdict, {"invalid_share": share, "e": min(e, 1e300)}, f"{share:.2%} of its rows have no valid score"
    )


def _exposure(rollout: Rollout, policy: RolloutPolicy, evidence: Evidence) -> Guard:
    """At a canary step: enough answers of its own, or enough event time."""
    n = evidence.candidate.answers
    waited = evidence.watermark_us - rollout.step_started_us
    enough = n >= policy.min_exposure or waited >= policy.max_step_s * 1_000_000
    verdict = Verdict.ADVANCE if rollout.phase is not Phase.CANARY or enough else Verdict.CONTINUE
    numbers = {"answers": float(n), "needed": float(policy.min_exposure), "waited_s": max(waited, 0) / 1e6}
    return Guard("exposure", verdict, numbers, f"{n} answers at this step")


def share_e(hits: int, rows: int, share: float) -> float:
    """e-value against "the share of hits is at most `share`": mixture over fixed stakes on each row."""
    stakes = STAKES / max(share, 1e-9) * 0.9
    stakes = np.minimum(stakes, 0.9 / share)
    logs = hits * np.log1p(stakes * (1 - share)) + (rows - hits) * np.log1p(-stakes * share)
    return _mixture(np.asarray(logs, np.float64))
