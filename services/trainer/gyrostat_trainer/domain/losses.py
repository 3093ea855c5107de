"""Losses per row, and what can be said of two models from them. Pure numpy; rows are paired throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
RESAMPLES = 4_000
# Fewer days than this say little about days; the bootstrap then takes quarters of a day for its blocks.
FEWEST_DAYS = 8


def scalar_scores(task: str, scores: Floats) -> Floats:
    """[n] score of a row: binary the probability of class 1, multiclass that of the likeliest class, else the
    prediction.
    """
    if scores.ndim == 1:
        return scores
    return np.asarray(scores[:, -1] if task != "multiclass" else scores.max(axis=1))


def hard_labels(task: str, scores: Floats, threshold: float) -> Floats:
    """[n] predicted label: 0 or 1, or the class number. For regression there is none: NaN."""
    if task == "regression":
        return np.full(len(scores), np.nan)
    if task == "multiclass":
        return np.asarray(scores.argmax(axis=1), dtype=np.float64)
    return np.asarray(scalar_scores(task, scores) >= threshold, dtype=np.float64)


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve, ties counted half; NaN with one class only."""
    positives = float(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_error(scores: Floats, labels: Floats, bins: int = 15) -> float:
    """Expected calibration error of a binary score over bins of equal mass."""
    order = np.argsort(scores, kind="stable")
    return float(
        sum(
            len(part) / len(scores) * abs(float(scores[part].mean()) - float(labels[part].mean()))
            for part in np.array_split(order, min(bins, len(scores)))
        )
    )


def blocks(event_times_us: Ints) -> Ints:
    """[n] number of each row's block: its day, or its quarter of a day when there are few days."""
    days = event_times_us // DAY_US
    width = DAY_US if len(np.unique(days)) >= FEWEST_DAYS else DAY_US // 4
    _, numbers = np.unique(event_times_us // width, return_inverse=True)
    return numbers.astype(np.int64)


@dataclass(frozen=True)
class Difference:
    """Mean paired difference with its interval: negative is better for the candidate."""

    mean: float
    lower: float
    upper: float
    blocks: int


def mean_difference(differences: Floats, block: Ints, *, level: float = 0.95, seed: int = 0) -> Difference:
    """Mean and one-sided limits at `level`, by a BCa bootstrap over blocks (Efron and Tibshirani 1993, ch. 14).

    Rows of one block stand or fall together: neighbours in time are alike, and resampling rows would call chance
    evidence. The mean of a resample is a ratio of block sums, so all resamples are two matrix products.
    """
    count = int(block.max()) + 1 if len(block) else 0
    mean = float(differences.mean()) if len(differences) else 0.0
    if count < 2:
        return Difference(mean, float("-inf"), float("inf"), count)
    sums = np.bincount(block, weights=differences, minlength=count)
    rows = np.bincount(block, minlength=count).astype(np.float64)
    rng = np.random.default_rng(seed)
    picks = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means = (picks @ sums) / np.maximum(picks @ rows, 1.0)
    jackknife = (sums.sum() - sums) / np.maximum(rows.sum() - rows, 1.0)
    lower, upper = (_bca(means, mean, jackknife, p) for p in (1 - level, level))
    return Difference(mean, lower, upper, count)


def _bca(means: Floats, mean: float, jackknife: Floats, probability: float) -> float:
    below = np.clip(float((means < mean).mean()) + float((means == mean).mean()) / 2, 1e-6, 1 - 1e-6)
    bias = float(special.ndtri(below))
    spread = jackknife.mean() - jackknife
    scale = 6.0 * float((spread**2).sum()) ** 1.5
    acceleration = float((spread**3).sum()) / scale if scale > 0 else 0.0
    z = bias + float(special.ndtri(probability))
    adjusted = float(special.ndtr(bias + z / (1 - acceleration * z)))
    return float(np.quantile(means, np.clip(adjusted, 0.0, 1.0)))


def mcnemar_p(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Two-sided exact p of McNemar's test that both are right equally often."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return min(1.0, 2.0 * float(special.bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = running
    return adjusted
