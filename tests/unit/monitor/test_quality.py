"""Realised quality: sums that add and take away exactly, metrics that agree with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from gyrostat_monitor.domain.quality import Labelled, QualitySums, added, sums_of

R = np.random.default_rng(5)
P = R.beta(2, 5, 4000)
Y = (R.random(4000) < P).astype(float)
ROWS = [Labelled(f"r/{i}", float(p), None, float(y), 1.0, 3600.0) for i, (p, y) in enumerate(zip(P, Y, strict=True))]


def test_metrics_agree_with_scikit_learn():
    metrics = QualitySums(predictions=5000).plus(sums_of("binary", 0.5, ROWS)).metrics("binary")
    assert metrics["log_loss"] == pytest.approx(log_loss(Y, P), abs=1e-5)
    assert metrics["brier"] == pytest.approx(brier_score_loss(Y, P), abs=1e-5)
    assert metrics["auc"] == pytest.approx(roc_auc_score(Y, P), abs=2e-3)
    assert metrics["accuracy"] == pytest.approx(float(np.mean((P >= 0.5) == (Y == 1))))
    assert metrics["ece"] < 0.03


def test_regression_and_multiclass():
    rows = [Labelled("a/0", 3.0, None, 1.0, 1.0, 0.0), Labelled("b/0", 1.0, None, 2.0, 3.0, 0.0)]
    metrics = sums_of("regression", 0.5, rows).metrics("regression")
    assert metrics["mae"] == pytest.approx((2 + 3 * 1) / 4)
    assert metrics["rmse"] == pytest.approx(np.sqrt((4 + 3 * 1) / 4), abs=1e-5)
    classes = [
        Labelled("a/0", 0.7, (0.1, 0.7, 0.2), 1.0, 1.0, 0.0),
        Labelled("b/0", 0.5, (0.5, 0.3, 0.2), 2.0, 1.0, 0.0),
    ]
    metrics = sums_of("multiclass", 0.5, classes).metrics("multiclass")
    assert metrics["accuracy"] == 0.5
    assert metrics["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.permutations(ROWS[:40]), st.integers(0, 40))
def test_order_does_not_matter_and_a_correction_leaves_no_trace(rows, cut):
    whole = sums_of("binary", 0.5, ROWS[:40])
    parts = added([sums_of("binary", 0.5, rows[:cut]), sums_of("binary", 0.5, rows[cut:])])
    assert parts.to_json()
    assert QualitySums.from_json(parts.to_json()) == parts
    assert (parts.sums, parts.weight, parts.worst) == (whole.sums, whole.weight, whole.worst)
    wrong = sums_of("binary", 0.5, [Labelled("x/0", 0.9, None, 0.0, 1.0, 5.0)])
    back = parts.plus(wrong).plus(wrong, -1)
    assert back.metrics("binary") == parts.metrics("binary")


def test_the_worst_answers_are_named_and_the_lag_is_a_median():
    sums = sums_of(
        "binary", 0.5, [Labelled("bad/0", 0.99, None, 0.0, 1.0, 100.0), Labelled("ok/0", 0.01, None, 0.0, 1.0, 100.0)]
    )
    assert sums.worst[0][1] == "bad/0"
    assert 85 < sums.median_lag_s() < 115
    assert QualitySums(predictions=4).plus(sums).coverage() == 0.5
    assert QualitySums().metrics("binary") == {}
