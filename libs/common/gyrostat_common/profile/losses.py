"""The loss of one answer, the same wherever it is computed: reference, realised quality, paired evidence."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LOSS_CLIP = 1e-6
"""Probabilities are clipped to [LOSS_CLIP, 1 - LOSS_CLIP], so that one certain mistake costs 13.8 and not infinity."""


def losses(task: str, scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Floats:
    """(rows,) float64: the loss of each row, in nats. "binary": log loss of p = P(1), scores (rows,) or (rows, 1).
    "multiclass": log loss of the class, scores (rows, classes), labels class numbers. "regression": absolute error, in
    the label's unit. Rows whose score is not finite have loss NaN."""
    y = np.asarray(labels, np.float64).reshape(-1)
    s = np.asarray(scores, np.float64)
    if task == "multiclass":
        k = np.clip(y.astype(np.int64), 0, s.shape[1] - 1)
        return -np.log(np.clip(s[np.arange(len(y)), k], LOSS_CLIP, 1.0))
    s = s.reshape(-1)
    if task == "regression":
        return np.abs(y - s)
    p = np.clip(s, LOSS_CLIP, 1.0 - LOSS_CLIP)
    return -(y * np.log(p) + (1.0 - y) * np.log1p(-p))


def row_loss(task: str, score: float, probabilities: Sequence[float] | None, label: float) -> float:
    """`losses` of one row, without numpy. `probabilities` for multiclass."""
    if task == "regression":
        return abs(label - score)
    if task == "multiclass" and probabilities is not None:
        return -log(min(max(probabilities[max(0, min(int(label), len(probabilities) - 1))], LOSS_CLIP), 1.0))
    p = min(max(score, LOSS_CLIP), 1.0 - LOSS_CLIP)
    return -(label * log(p) + (1.0 - label) * log1p(-p))


def scalar_scores(task: str, scores: npt.NDArray[Any]) -> Floats:
    """(rows,) float64, one number a row to follow: the score itself; for multiclass the largest probability."""
    s = np.asarray(scores, np.float64)
    if task == "multiclass" and s.ndim == 2:
        return np.asarray(s.max(axis=1), np.float64)
    return s.reshape(-1)
