"""Makes a reference profile from held-out rows. Called by the trainer only, in a process of its own per run: so no
library that takes a second to import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gyrostat_common.profile.features import Between, Category, Feature, Floats, Ints, Numeric, numbers
from gyrostat_common.profile.losses import losses, scalar_scores
from gyrostat_common.profile.values import Profile, ProfileInvalid, ReferenceLoss, Residual, Score

if TYPE_CHECKING:
    import pyarrow as pa

EDGES = 63
SCORE_BINS = 256
TOP = 64
KNOWN = 20_000
PERIODS = ((3_600, 1, 1), (3_600, 2, 2), (3_600, 3, 12), (21_600, 1, 1), (86_400, 1, 1))
"""Period in seconds, smallest and largest distance of the periods that are compared."""
PERIOD_ROWS = 20
"""A period with fewer rows has no mean worth comparing."""
RESAMPLES = 2_000
KNOWN_ROWS = 50_000
"""At most so many rows, evenly spaced, describe an input."""


def build_profile(
    inputs: pa.Table,
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
    event_times: npt.NDArray[Any],
    importance: Mapping[str, float],
    task: str,
    *,
    decision_threshold: float = 0.5,
    history: pa.Table | None = None,
    history_times: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> Profile:
    """The reference profile of a version. Raises ProfileInvalid where rows, scores and times do not agree.

    `inputs` one column per model input, held-out rows; `scores` (rows,) or (rows, classes) for multiclass; `labels`
    (rows,) or None; `event_times` (rows,) datetime64 or int64 µs UTC; `importance` input → permutation importance,
    given, not computed here; `task` "binary" | "multiclass" | "regression". `history` with `history_times`: all rows
    known before, training rows included. When given, inputs are described by them, and so are their movements
    *between periods*: a few days know too little of what a feature is like and of how weather or trade moves from day
    to day. Scores and losses come from the held-out rows alone.
    """
    times = microseconds(event_times)
    if len(times) != inputs.num_rows or len(scores) != inputs.num_rows or inputs.num_rows == 0:
        raise ProfileInvalid(f"{inputs.num_rows} input rows, {len(scores)} scores, {len(times)} event times")
    moving, moving_times = (inputs, times) if history is None else (history, microseconds(history_times))
    y = None if labels is None else np.asarray(labels, np.float64)
    scalar = scalar_scores(task, scores)
    return Profile(
        task=task,
        features=_features(inputs.column_names, moving, moving_times, importance),
        score=_score(scalar, y if task == "binary" else None, times, decision_threshold),
        loss=None if y is None else _loss(losses(task, scores, y), times, seed),
        residual=None if y is None or task == "multiclass" else _residual(y - scalar),
        metrics={} if y is None else _metrics(task, np.asarray(scores, np.float64), y, decision_threshold),
        rows=int(inputs.num_rows),
        event_time_from_us=int(times.min()),
        event_time_to_us=int(times.max()),
    )


def microseconds(event_times: npt.NDArray[Any] | None) -> Ints:
    """Event times as int64 µs since 1970 UTC."""
    times = np.asarray(event_times)
    if np.issubdtype(times.dtype, np.datetime64):
        times = times.astype("datetime64[us]")
    return times.astype(np.int64)


def _features(
    names: Sequence[str], rows: pa.Table, times: Ints, importance: Mapping[str, float]
) -> tuple[Feature, ...]:
    count = rows.num_rows
    known = rows if count <= KNOWN_ROWS else rows.take(np.arange(KNOWN_ROWS) * count // KNOWN_ROWS)
    return tuple(
        _feature(name, known.column(name), rows.column(name), times, float(importance.get(name, 0.0))) for name in names
    )


def _feature(name: str, column: Any, moving: Any, times: Ints, importance: float) -> Feature:
    if _is_text(column):
        return _category(name, [_text(v) for v in column.to_pylist()], importance)
    x = numbers(column.to_numpy())
    values = x[~np.isnan(x)]
    if len(values) == 0:
        values = np.zeros(1)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, EDGES + 2)[1:-1]))
    _, frequency = np.unique(values, return_counts=True)
    bare = Numeric(
        name, tuple(map(float, edges)), (), float(values.min()), float(values.max()), float(values.mean()),
        float(values.std()), bool(np.all(values == np.rint(values))), float(frequency.max() / len(values)),
        _between(numbers(moving.to_numpy()), times), importance,
    )  # fmt: skip
    counts = tuple(int(c) for c in bare.bin_counts(x))
    return Numeric(**{**_arguments(bare), "counts": counts})


def _arguments(feature: Numeric) -> dict[str, Any]:
    names = ("name", "edges", "counts", "minimum", "maximum", "mean", "sd", "integer", "mode_share", "between")
    return {**{n: getattr(feature, n) for n in names}, "importance": feature.importance}


def _category(name: str, column: Sequence[str | None], importance: float) -> Category:
    ranked = sorted(Counter(v for v in column if v is not None).items(), key=lambda item: (-item[1], item[0]))
    top, others = tuple(v for v, _ in ranked[:TOP]), tuple(sorted(v for v, _ in ranked[TOP:]))
    open_ended = len(ranked) > KNOWN or len(ranked) > 0.2 * max(len(column), 1) > 20
    bare = Category(name, top, () if open_ended else others, (), open_ended, (), importance)
    return Category(name, top, bare.others, tuple(int(c) for c in bare.bin_counts(column)), open_ended, (), importance)


def _between(x: Floats, times: Ints) -> tuple[Between, ...]:
    return tuple(b for period in PERIODS if (b := _movement(x, times, *period)) is not None)


def _movement(x: Floats, times: Ints, period_s: int, nearest: int, farthest: int) -> Between | None:
    present = ~np.isnan(x)
    periods, inverse = np.unique(times[present] // (period_s * 1_000_000), return_inverse=True)
    if len(periods) < 3:
        return None
    rows = np.bincount(inverse, minlength=len(periods))
    means = np.bincount(inverse, weights=x[present], minlength=len(periods)) / np.maximum(rows, 1)
    enough = rows >= min(PERIOD_ROWS, float(np.median(rows)))
    periods, means = periods[enough], means[enough]
    step = nearest if nearest < 3 else 1
    distance = periods[step:] - periods[:-step]
    change = (means[step:] - means[:-step])[(distance >= nearest) & (distance <= farthest)]
    if len(means) < 3 or len(change) < 2:
        return None
    return Between(
        period_s, farthest, len(means), len(change), float(means.std(ddof=1)), float(np.sqrt(np.mean(change**2))),
        float(np.abs(change).max()), float(np.median(rows[enough])),
    )  # fmt: skip


def _score(scores: Floats, labels: Floats | None, times: Ints, threshold: float) -> Score:
    x = numbers(scores)
    valid = ~np.isnan(x)
    values = x[valid] if valid.any() else np.zeros(1)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]))
    bare = Score(tuple(map(float, edges)), ())
    counts = bare.bin_counts(x)
    calibrated: tuple[float, ...] = ()
    if labels is not None and valid.any():
        calibrated = _calibrated(values, labels[valid], bare)
    return Score(
        bare.edges, tuple(int(c) for c in counts), calibrated, float(values.mean()), float(values.std()),
        float(np.mean(values >= threshold)), threshold, _between(x, times),
    )  # fmt: skip


def _calibrated(scores: Floats, labels: Floats, bins: Score) -> tuple[float, ...]:
    index = bins.bins(scores)
    size = len(bins.edges) + 1
    rows = np.bincount(index, minlength=size)[:size]
    sums = np.bincount(index, weights=scores, minlength=size)[:size]
    bounds = np.concatenate(([scores.min()], bins.edges, [scores.max()]))
    centre = np.where(rows > 0, sums / np.maximum(rows, 1), (bounds[:-1] + bounds[1:]) / 2)
    at, fitted = isotonic(scores, labels)
    return tuple(float(p) for p in np.interp(centre, at, np.clip(fitted, 0.0, 1.0)))


def isotonic(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Distinct x in order, and the non-decreasing fit of y at them with least squared error (pool adjacent violators:
    Barlow et al. 1972)."""
    at, inverse = np.unique(x, return_inverse=True)
    weights = np.bincount(inverse).astype(np.float64)
    means = np.bincount(inverse, weights=y) / weights
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of distinct x
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        count = 1
        while pools and pools[-1][0] >= mean:
            before, its_weight, its_count = pools.pop()
            mean = (mean * weight + before * its_weight) / (weight + its_weight)
            weight, count = weight + its_weight, count + its_count
        pools.append((mean, weight, count))
    return at, np.repeat([p[0] for p in pools], [p[2] for p in pools])


def _loss(loss: Floats, times: Ints, seed: int) -> ReferenceLoss:
    """Mean loss; interval by resampling whole days, since rows of one day share their weather."""
    good = np.isfinite(loss)
    loss, days = loss[good], np.unique(times[good] // 86_400_000_000, return_inverse=True)[1]
    n_days = int(days.max()) + 1 if len(days) else 0
    if n_days == 0:
        raise ProfileInvalid("no held-out row has a finite loss")
    rows = np.bincount(days, minlength=n_days).astype(np.float64)
    sums = np.bincount(days, weights=loss, minlength=n_days)
    picks = np.random.default_rng(seed).integers(0, n_days, (RESAMPLES, n_days))
    means = sums[picks].sum(axis=1) / rows[picks].sum(axis=1)
    lower, upper = np.quantile(means, (0.025, 0.975))
    row_sd, mean = float(loss.std()), float(loss.mean())
    iid = 1.96 * row_sd / np.sqrt(len(loss))
    day_means = sums / rows
    day_sd = float(np.sqrt(np.average((day_means - mean) ** 2, weights=rows)))
    return ReferenceLoss(
        mean, float(min(lower, mean - iid)), float(max(upper, mean + iid)), row_sd, day_sd, len(loss), n_days
    )


def _residual(residual: Floats) -> Residual:
    good = residual[np.isfinite(residual)]
    return Residual(float(good.mean()), float(good.std()), len(good))


def _metrics(task: str, scores: Floats, labels: Floats, threshold: float) -> dict[str, float]:
    if task == "regression":
        error = labels - scores.reshape(-1)
        return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt(np.mean(error**2)))}
    mean_loss = float(np.nanmean(losses(task, scores, labels)))
    if task == "multiclass":
        return {"log_loss": mean_loss, "accuracy": float(np.mean(scores.argmax(axis=1) == labels))}
    p = scores.reshape(-1)
    out = {
        "log_loss": mean_loss,
        "brier": float(np.mean((labels - p) ** 2)),
        "accuracy": float(np.mean((p >= threshold) == (labels >= 0.5))),
        "label_share": float(labels.mean()),
    }
    if 0 < labels.sum() < len(labels):
        out["auc"] = _auc(labels >= 0.5, p)
    return out


def _auc(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = float(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def _is_text(column: Any) -> bool:
    kind = str(column.type)
    return any(word in kind for word in ("string", "binary", "dictionary", "utf8"))


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
