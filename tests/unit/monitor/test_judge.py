"""The judge: harmless candidates survive any number of looks, harmful ones are found, better ones are promoted."""

from dataclasses import replace

import numpy as np
import pytest

from gyrostat_monitor.domain.judge import (
    Evidence,
    Pairs,
    Traffic,
    Verdict,
    design_effect,
    difference_bin,
    harm_e,
    judge,
    limits,
    share_e,
)
from gyrostat_monitor.domain.plan import Phase, Rollout
from gyrostat_monitor.domain.policy import RolloutPolicy

ALPHA = 0.05
POLICY = RolloutPolicy(
    min_paired_rows=200, min_exposure=50, loss_margin=0.02, alpha=ALPHA, max_step_s=3600, guard_s=7200
)
SHADOW = Rollout("ro", Phase.SHADOW, 2, 1, 0, 0)


def pairs_of(differences) -> Pairs:
    steps, rows = np.unique([difference_bin(d, 0.0) for d in differences], return_counts=True)
    return Pairs({int(s): int(n) for s, n in zip(steps, rows, strict=True)})


def looks(differences, every=50):
    pairs = Pairs()
    for i in range(0, len(differences), every):
        pairs = pairs.plus(pairs_of(differences[i : i + every]))
        yield pairs


def test_an_a_a_roll_out_is_rolled_back_at_most_as_often_as_alpha_says():
    r = np.random.default_rng(0)
    wrong = sum(any(harm_e(p) >= 1 / ALPHA for p in looks(r.normal(0, 0.3, 2000).clip(-1, 1))) for _ in range(120))
    assert wrong <= 120 * ALPHA


def test_harm_of_a_twentieth_is_found_within_a_thousand_rows():
    r = np.random.default_rng(1)
    for _ in range(10):
        assert any(harm_e(p) >= 1 / ALPHA for p in looks(r.normal(0.05, 0.3, 2000).clip(-1, 1)))


def test_the_confidence_sequence_holds_the_mean_at_every_look():
    r = np.random.default_rng(2)
    missed = 0
    for _ in range(60):
        d = r.choice([-0.4, 0.0, 0.5], 1500, p=[0.3, 0.5, 0.2])
        missed += any(not limits(p, ALPHA)[0] <= -0.02 <= limits(p, ALPHA)[1] for p in looks(d, 150))
    assert missed <= 60 * 2 * ALPHA
    low, high = limits(pairs_of(d), ALPHA)
    assert high - low < 0.15


def evidence(differences=(), **more) -> Evidence:
    pairs = pairs_of(differences)
    base = Evidence(pairs, pairs, 1.0, 1.0, Traffic(), Traffic(), 0)
    return replace(base, **more)


def test_a_shadow_goes_on_when_it_is_proven_not_worse_and_not_before():
    r = np.random.default_rng(3)
    better = r.normal(-0.05, 0.2, 2000).clip(-1, 1)
    assert judge(SHADOW, POLICY, evidence(better[:100])).verdict is Verdict.CONTINUE
    judged = judge(SHADOW, POLICY, evidence(better))
    assert judged.verdict is Verdict.ADVANCE
    assert judged.paired_rows == 2000
    worse = judge(SHADOW, POLICY, evidence(-better))
    assert worse.verdict is Verdict.ROLL_BACK
    assert "taken back" in worse.summary
    assert judge(SHADOW, POLICY, evidence()).verdict is Verdict.CONTINUE


def test_a_canary_also_needs_answers_or_time():
    better = np.random.default_rng(3).normal(-0.05, 0.2, 2000).clip(-1, 1)
    canary = replace(SHADOW, phase=Phase.CANARY)
    assert judge(canary, POLICY, evidence(better, candidate=Traffic(10))).verdict is Verdict.CONTINUE
    assert judge(canary, POLICY, evidence(better, candidate=Traffic(60))).verdict is Verdict.ADVANCE
    late = evidence(better, candidate=Traffic(10), watermark_us=3600_000_000)
    assert judge(canary, POLICY, late).verdict is Verdict.ADVANCE


def test_after_the_promotion_only_time_without_harm_is_asked_and_a_bad_turn_is_seen():
    r = np.random.default_rng(4)
    guard = replace(SHADOW, phase=Phase.GUARD, step_started_us=1_000_000)
    good, bad = r.normal(-0.1, 0.2, 3000).clip(-1, 1), r.normal(0.1, 0.2, 600).clip(-1, 1)
    assert judge(guard, POLICY, evidence(good, watermark_us=10)).verdict is Verdict.CONTINUE
    assert judge(guard, POLICY, evidence(good, watermark_us=7_201_000_000)).verdict is Verdict.ADVANCE
    turned = evidence(np.concatenate([good, bad]), step_pairs=pairs_of(bad), watermark_us=7_201_000_000)
    assert judge(guard, POLICY, turned).verdict is Verdict.ROLL_BACK


def test_the_guard_ends_with_outcomes_or_after_a_long_wait():
    guard = replace(SHADOW, phase=Phase.GUARD)
    few = pairs_of(np.zeros(50))
    over, long_over = 7_200_000_000, 4 * 7_200_000_000
    assert judge(guard, POLICY, evidence(np.zeros(500), step_pairs=few, watermark_us=over)).verdict is Verdict.CONTINUE
    assert judge(guard, POLICY, evidence(np.zeros(500), watermark_us=over)).verdict is Verdict.ADVANCE
    assert judge(guard, POLICY, evidence(step_pairs=few, watermark_us=long_over)).verdict is Verdict.ADVANCE


def test_rows_that_share_their_hour_count_for_less():
    r = np.random.default_rng(7)
    wrong = plain = 0
    for _ in range(60):
        hours = [r.normal(r.normal(0, 0.15), 0.2, 40).clip(-1, 1) for _ in range(60)]
        ticks = [pairs_of(h) for h in hours]
        whole = pairs_of(np.concatenate(hours))
        design = design_effect(ticks)
        assert design > 4
        plain += harm_e(whole) >= 1 / ALPHA
        wrong += harm_e(whole, design) >= 1 / ALPHA
    assert plain > 6  # independent rows are a wish
    assert wrong <= 60 * ALPHA
    alone = [pairs_of(r.normal(0, 0.3, 40).clip(-1, 1)) for _ in range(60)]
    assert design_effect(alone) < 2
    assert design_effect(alone[:2]) == 1.0


def test_slow_answers_and_invalid_scores_roll_back():
    canary = replace(SHADOW, phase=Phase.CANARY)
    fast, slow = {40: 500}, {40: 250, 60: 250}
    verdict = judge(canary, POLICY, evidence(candidate=Traffic(500, 500, 0, slow), baseline=Traffic(500, 500, 0, fast)))
    assert verdict.verdict is Verdict.ROLL_BACK
    same = judge(canary, POLICY, evidence(candidate=Traffic(500, 500, 0, fast), baseline=Traffic(500, 500, 0, fast)))
    assert same.verdict is Verdict.CONTINUE
    broken = judge(SHADOW, POLICY, evidence(candidate=Traffic(0, 500, 60)))
    assert broken.verdict is Verdict.ROLL_BACK


def test_the_share_test_keeps_its_promise():
    r = np.random.default_rng(6)
    wrong = 0
    for _ in range(150):
        hits = np.cumsum(r.random(1000) < 0.2)
        wrong += any(share_e(int(hits[n - 1]), n, 0.2) >= 20 for n in range(50, 1001, 50))
    assert wrong <= 150 * 0.05
    assert share_e(300, 500, 0.2) > 1e6


def test_a_correction_takes_its_row_away():
    once, other = pairs_of([0.1]), pairs_of([-0.2])
    taken = once.plus(other).plus(Pairs({k: -v for k, v in other.bins.items()}))
    assert taken == once
    assert harm_e(Pairs()) == 1.0
    assert limits(Pairs(), 0.01) == (-1.0, 1.0)
    assert difference_bin(9.0, 0.0) == 2048
    with pytest.raises(ValueError, match="SIDEWAYS"):
        Phase("SIDEWAYS")
