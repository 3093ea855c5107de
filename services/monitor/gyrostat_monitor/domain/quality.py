"""Realised quality as additive sums: per version, role and tick; windows, days, months and the live line are sums of
these.

Everything is an integer in fixed point (Python's own, so nothing overflows): a correction subtracts exactly what it
added,
and the order of outcomes cannot change a figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, log2
from typing import TypeVar

import numpy as np

from gyrostat_common.profile import losses
from gyrostat_monitor.domain.frames import Floats, Ints

K = TypeVar("K", int, str)
FIXED = 1 << 20
WEIGHT = 1 << 10
BINS = 512
LOGIT_LIMIT = 8.0
WORST = 4
ECE_BINS = 15


@dataclass(frozen=True)
class QualitySums:
    """Sums over answers and their outcomes."""

    predictions: int = 0
    outcomes: int = 0
    weight: int = 0
    sums: Mapping[str, int] = field(default_factory=dict)
    """Fixed point, weighted: "loss", "loss2", "brier", "correct", "abs", "sq", "residual"."""
    positives: Mapping[int, int] = field(default_factory=dict)
    """Score bin (even steps of the logit) → weight of rows with label 1 (binary)."""
    negatives: Mapping[int, int] = field(default_factory=dict)
    lags: Mapping[int, int] = field(default_factory=dict)
    """Quarter octave of seconds from prediction to outcome → outcomes."""
    worst: tuple[tuple[float, str], ...] = ()
    """(-loss, row id) of the answers that were furthest off."""

    def plus(self, other: QualitySums, sign: int = 1) -> QualitySums:
        """The sum; sign -1 takes away. The worst answers are kept either way: they show, they do not count."""
        return QualitySums(
            self.predictions + sign * other.predictions,
            self.outcomes + sign * other.outcomes,
            self.weight + sign * other.weight,
            _merged(self.sums, other.sums, sign),
            _merged(self.positives, other.positives, sign),
            _merged(self.negatives, other.negatives, sign),
            _merged(self.lags, other.lags, sign),
            tuple(sorted({*self.worst, *(other.worst if sign > 0 else ())})[:WORST]),
        )

    def mean(self, name: str) -> float:
        """Weighted mean of a sum; NaN without outcomes."""
        return self.sums.get(name, 0) / FIXED / self.weight if self.weight else float("nan")

    def loss_se(self) -> float:
        """Standard error of the mean loss, rows taken as independent."""
        if self.outcomes < 2 or not self.weight:
            return float("inf")
        mean = self.mean("loss")
        variance = max(self.mean("loss2") - mean * mean, 0.0)
        return float(np.sqrt(variance / self.outcomes))

    def coverage(self) -> float:
        """Share of answers with an outcome."""
        return self.outcomes / self.predictions if self.predictions else 0.0

    def median_lag_s(self) -> float:
        """Median event time from prediction to outcome, to a quarter octave; NaN without outcomes."""
        half, seen = sum(self.lags.values()) / 2, 0
        for step in sorted(self.lags):
            seen += self.lags[step]
            if seen >= half > 0:
                return float(2 ** ((step + 0.5) / 4) - 1)
        return float("nan")

    def metrics(self, task: str) -> dict[str, float]:
        """Metrics by name; empty without outcomes."""
        if self.outcomes <= 0 or self.weight <= 0:
            return {}
        if task == "regression":
            return {"mae": self.mean("abs"), "rmse": float(np.sqrt(self.mean("sq"))), "bias": self.mean("residual")}
        out = {"log_loss": self.mean("loss"), "accuracy": self.mean("correct")}
        if task == "binary":
            out |= {"brier": self.mean("brier"), "ece": self._ece()}
            positives = sum(self.positives.values())
            out["label_share"] = positives / self.weight
            if 0 < positives < self.weight:
                out["auc"] = self._auc()
        return out

    def _histograms(self) -> tuple[Floats, Floats]:
        pos, neg = np.zeros(BINS), np.zeros(BINS)
        for target, source in ((pos, self.positives), (neg, self.negatives)):
            for step, weight in source.items():
                target[step] = weight
        return pos, neg

    def _auc(self) -> float:
        """Mann-Whitney over the bins, ties inside a bin at one half."""
        pos, neg = self._histograms()
        below = np.cumsum(neg) - neg
        return float((pos * (below + neg / 2)).sum() / (pos.sum() * neg.sum()))

    def _ece(self) -> float:
        """Expected calibration error over 15 equal bins of probability."""
        pos, neg = self._histograms()
        centre = _sigmoid((np.arange(BINS) + 0.5) / BINS * 2 * LOGIT_LIMIT - LOGIT_LIMIT)
        rows = pos + neg
        bins = np.minimum((centre * ECE_BINS).astype(int), ECE_BINS - 1)
        gap = np.bincount(bins, weights=pos - rows * centre, minlength=ECE_BINS)
        return float(np.abs(gap).sum() / max(rows.sum(), 1.0))

    def to_json(self) -> str:
        """For the store."""
        body = {
            "p": self.predictions, "o": self.outcomes, "w": self.weight, "s": dict(self.sums), "+":
            _keys(self.positives),
            "-": _keys(self.negatives), "l": _keys(self.lags), "x": [list(w) for w in self.worst],
        }  # fmt: skip
        return json.dumps({k: v for k, v in body.items() if v}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> QualitySums:
        """The inverse of `to_json`."""
        body = json.loads(text)
        return QualitySums(
            body.get("p", 0), body.get("o", 0), body.get("w", 0), body.get("s", {}), _numbers(body.get("+", {})),
            _numbers(body.get("-", {})), _numbers(body.get("l", {})),
            tuple((float(a), str(b)) for a, b in body.get("x", ())),
        )  # fmt: skip


def _keys(numbers: Mapping[int, int]) -> dict[str, int]:
    return {str(k): v for k, v in numbers.items() if v}


def _numbers(body: Mapping[str, int]) -> dict[int, int]:
    return {int(k): v for k, v in body.items()}


def _merged(a: Mapping[K, int], b: Mapping[K, int], sign: int) -> dict[K, int]:
    out = dict(a)
    for key, value in b.items():
        out[key] = out.get(key, 0) + sign * value
    return out


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float64)


@dataclass(frozen=True)
class Labelled:
    """One answer with its outcome."""

    row: str
    score: float
    vector: tuple[float, ...] | None
    """Class probabilities (multiclass)."""
    value: float
    weight: float
    lag_s: float


def sums_of(task: str, threshold: float, rows: Sequence[Labelled]) -> QualitySums:
    """Sums over labelled answers. A score that is no number counts as an outcome of nothing: the row is left out."""
    return grouped_sums(task, threshold, rows, [0] * len(rows), 1)[0]


def grouped_sums(
    task: str, threshold: float, rows: Sequence[Labelled], groups: Sequence[int], count: int
) -> list[QualitySums]:
    """`sums_of` for each of `count` groups; `groups` names each row's. One pass, since groups are many and small."""
    kept = [i for i, r in enumerate(rows) if r.vector is not None or isfinite(r.score)]
    if not kept:
        return [QualitySums() for _ in range(count)]
    rows, group = [rows[i] for i in kept], np.array([groups[i] for i in kept])
    label, score = np.array([r.value for r in rows]), np.array([r.score for r in rows])
    matrix = score if rows[0].vector is None else np.array([r.vector for r in rows])
    loss = losses(task, matrix, label)
    weights = np.array([max(0, round((r.weight or 1.0) * WEIGHT)) for r in rows])
    sums: dict[str, list[int]] = {}
    for name, values in {"loss": loss, "loss2": loss**2, **_terms(task, threshold, matrix, label)}.items():
        sums[name] = _added(values, weights, group, count)
    outcomes, weight = np.bincount(group, minlength=count), np.zeros(count, np.int64)
    np.add.at(weight, group, weights)
    pos: list[dict[int, int]] = [{} for _ in range(count)]
    neg: list[dict[int, int]] = [{} for _ in range(count)]
    lags: list[dict[int, int]] = [{} for _ in range(count)]
    if task == "binary":
        for g, step, y, w in zip(group.tolist(), score_bins(score).tolist(), label, weights.tolist(), strict=True):
            side = (pos if y >= 0.5 else neg)[g]
            side[step] = side.get(step, 0) + w
    worst: list[list[tuple[float, str]]] = [[] for _ in range(count)]
    for g, r, v in zip(group.tolist(), rows, loss.tolist(), strict=True):
        octave = int(4 * log2(1.0 + max(r.lag_s, 0.0)))
        lags[g][octave] = lags[g].get(octave, 0) + 1
        worst[g].append((-round(v, 6), r.row))
    return [
        QualitySums(
            0, int(outcomes[g]), int(weight[g]), {n: s[g] for n, s in sums.items()} if outcomes[g] else {}, pos[g],
            neg[g],
            lags[g], tuple(sorted(worst[g])[:WORST]),
        )
        for g in range(count)
    ]  # fmt: skip


def _added(values: Floats, weights: Ints, group: Ints, count: int) -> list[int]:
    """Fixed-point sums by group; in Python's integers when 64 bits could be too few."""
    if len(values) and float(np.abs(values).max()) * FIXED * float(weights.max()) * len(values) < 4e18:
        out = np.zeros(count, np.int64)
        np.add.at(out, group, np.rint(values * FIXED).astype(np.int64) * weights)
        return [int(v) for v in out]
    exact = [0] * count
    for g, v, w in zip(group.tolist(), values.tolist(), weights.tolist(), strict=True):
        exact[g] += round(v * FIXED) * w
    return exact


def _terms(task: str, threshold: float, score: Floats, label: Floats) -> dict[str, Floats]:
    if task == "regression":
        error = label - score
        return {"abs": np.abs(error), "sq": error**2, "residual": error}
    if task == "multiclass":
        return {"correct": (score.argmax(axis=1) == label).astype(np.float64)}
    correct = ((score >= threshold) == (label >= 0.5)).astype(np.float64)
    return {"correct": correct, "brier": (label - score) ** 2, "residual": label - score}


def score_bins(p: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Bin of a probability: 512 even steps of its logit between -8 and 8."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    step = (np.log(p) - np.log1p(-p) + LOGIT_LIMIT) / (2 * LOGIT_LIMIT) * BINS
    return np.clip(step, 0, BINS - 1).astype(np.int64)


def added(parts: Iterable[QualitySums]) -> QualitySums:
    """The sum of many."""
    out = QualitySums()
    for part in parts:
        out = out.plus(part)
    return out
