"""The numbers of the gates against values worked out by hand or by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gyrostat_trainer.domain import gates
from gyrostat_trainer.domain.errors import TooFewRows
from gyrostat_trainer.domain.losses import auc, blocks, calibration_error, holm, mcnemar_p, mean_difference
from gyrostat_trainer.domain.split import split

DAY_US = 86_400_000_000


def days(n_days: int, per_day: int) -> np.ndarray:
    return np.sort(np.repeat(np.arange(n_days), per_day) * DAY_US + np.tile(np.arange(per_day), n_days))


def test_auc_counts_ties_half() -> None:
    assert auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.875
    assert np.isnan(auc(np.array([0.1, 0.2]), np.array([1.0, 1.0])))


def test_calibration_error_is_zero_for_a_score_that_is_the_rate() -> None:
    scores = np.repeat([0.2, 0.8], 500)
    labels = np.concatenate([np.repeat([1.0, 0.0], [100, 400]), np.repeat([1.0, 0.0], [400, 100])])
    assert calibration_error(scores, labels, bins=2) == pytest.approx(0.0)
    assert calibration_error(scores + 0.1, labels, bins=2) == pytest.approx(0.1)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    first = np.array([True] * 9 + [False] * 2 + [True] * 50)
    second = np.array([False] * 9 + [True] * 2 + [True] * 50)
    assert mcnemar_p(first, second) == pytest.approx(stats.binomtest(9, 11, 0.5).pvalue)
    assert mcnemar_p(first, first) == 1.0


def test_holm_is_monotone_and_never_below_the_raw_value() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_block_is_a_day_or_a_quarter_of_one_when_there_are_few() -> None:
    assert len(np.unique(blocks(days(10, 4)))) == 10
    few = np.arange(3 * 24) * (DAY_US // 24)
    assert len(np.unique(blocks(few))) == 12


def test_the_upper_limit_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered, looks = 0, 200
    for _ in range(looks):
        day = np.repeat(np.arange(20), 30)
        effect = rng.normal(0.0, 0.02, 20)[day] + rng.normal(0.0, 0.1, len(day))
        covered += mean_difference(effect, day).upper >= 0.0
    assert 0.88 <= covered / looks <= 0.99


def test_rows_of_one_day_stand_or_fall_together() -> None:
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(12), 100)
    shared = rng.normal(0.0, 0.05, 12)[day] + rng.normal(0.0, 0.01, len(day))
    by_day = mean_difference(shared, day)
    by_row = mean_difference(shared, np.arange(len(day)))
    assert by_day.upper - by_day.lower > 5 * (by_row.upper - by_row.lower)
    assert mean_difference(shared, day) == by_day


def test_one_block_says_nothing() -> None:
    assert mean_difference(np.ones(5), np.zeros(5, dtype=np.int64)).upper == float("inf")


def a_proof(candidate_better_by: float, n_days: int = 20) -> gates.Proof:
    rng = np.random.default_rng(3)
    times = days(n_days, 60)
    n = len(times)
    p = rng.uniform(0.1, 0.9, n)
    labels = (rng.random(n) < p).astype(np.float64)
    theirs = rng.uniform(0.4, 0.8, n)
    ours = theirs - candidate_better_by + rng.normal(0, 0.02, n)
    city = np.where(np.arange(n) % 3 == 0, "EWR", "JFK")
    return gates.Proof("binary", labels, times, gates.Scored(p, ours), gates.Scored(p, theirs), 0.5, {"origin": city})


def test_a_better_candidate_has_an_upper_limit_below_zero() -> None:
    numbers = gates.quality(a_proof(0.02)).numbers
    assert numbers["loss_delta"] == pytest.approx(-0.02, abs=0.002)
    assert numbers["loss_delta_upper"] < 0 < numbers["champion_loss"]
    assert numbers["blocks"] == 20


def test_without_a_champion_nothing_is_compared_and_nothing_made_up() -> None:
    proof = a_proof(0.0)
    alone = gates.Proof("binary", proof.labels, proof.event_times_us, proof.candidate, None, 0.5, {})
    gate = gates.quality(alone)
    assert "loss_delta_upper" not in gate.numbers
    assert gates.quality(alone).not_measured == gates.slices(alone).not_measured == gates.NO_CHAMPION
    assert gates.slices(alone).numbers == {}


def test_a_champion_that_cannot_be_asked_is_no_excuse() -> None:
    proof = a_proof(0.0)
    blind = gates.Proof("binary", proof.labels, proof.event_times_us, proof.candidate, None, 0.5, {}, "it needs lists")
    for gate in (gates.quality(blind), gates.slices(blind)):
        assert (gate.reason, gate.not_measured) == ("it needs lists", "")
    assert "loss_delta_upper" not in gates.quality(blind).numbers


def test_a_slice_that_got_worse_is_named() -> None:
    gate = gates.slices(a_proof(-0.05))
    assert gate.numbers["harmed"] == 2
    assert "origin=" in gate.reason
    fine = gates.slices(a_proof(0.05))
    assert fine.numbers["harmed"] == 0


def test_parity_finds_the_largest_difference_the_flips_and_the_answers_that_are_not_numbers() -> None:
    native = np.array([0.1, 0.5, 0.9, 0.2])
    gate = gates.parity("binary", native, native + np.array([0, -1e-6, 0, 0]), 0.5)
    assert gate.numbers["max_difference"] == pytest.approx(1e-6)
    assert gate.numbers["label_flips"] == 1
    broken = gates.parity("binary", native, np.array([0.1, np.nan, 0.9, 0.2]), 0.5)
    assert broken.numbers["max_difference"] > 1e300


def test_the_split_is_in_time_with_the_label_lag_between() -> None:
    times = days(100, 100)
    cut = split(times, 0.2, lag_s=86_400, champion_saw_until_us=None)
    fit, proof = times[cut.fit_mask(times)], times[cut.proof_mask(times)]
    assert proof.min() == 80 * DAY_US
    assert fit.max() < 79 * DAY_US
    assert len(proof) == 2_000


def test_rows_that_the_champion_was_fitted_on_are_no_evidence_against_it() -> None:
    times = days(100, 100)
    cut = split(times, 0.2, 0, champion_saw_until_us=90 * DAY_US + 50)
    assert cut.proof_from_us == 90 * DAY_US + 51
    assert cut.unseen_by_champion
    hardly = split(times, 0.2, 0, champion_saw_until_us=98 * DAY_US)
    assert not hardly.unseen_by_champion
    assert hardly.proof_from_us == 80 * DAY_US


def test_too_few_rows_are_refused_with_the_numbers() -> None:
    with pytest.raises(TooFewRows, match="900 rows"):
        split(days(9, 100), 0.2, 0, None)
    with pytest.raises(TooFewRows, match="label lag"):
        split(days(10, 200), 0.5, 20 * 86_400, None)
