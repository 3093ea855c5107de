"""Three ways to run the same model over the same rows, and how they did.

Governed: what Gyrostat answered. Frozen: version 1 forever, read from the archive where it shadows every request. Cron:
retrained on the first of every month on all that has landed, never checked, never rolled back; scored offline.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from flights import pipeline
from flights.year import NEW_YORK, Flights

EPSILON: Final = 1e-7
WEEK_US: Final = 7 * 86_400 * 1_000_000


@dataclass(frozen=True)
class Score:
    """How one arm did on some rows; `rows` of them had an outcome. NaN where there is nothing to measure."""

    rows: int
    log_loss: float
    auc: float


def loss(late: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Log loss of each row, in nats."""
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    logs: np.ndarray = np.where(late == 1, np.log(clipped), np.log1p(-clipped))
    return -logs


def auc(late: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney, ties shared); NaN when all rows have the same label."""
    positive = int((late == 1).sum())
    negative = len(late) - positive
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[late == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def measure(late: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> Score:
    """One arm on the rows of a mask that have an outcome and an answer."""
    rows = rows & (late >= 0) & np.isfinite(scores)
    if not rows.any():
        return Score(0, float("nan"), float("nan"))
    return Score(int(rows.sum()), float(loss(late[rows], scores[rows]).mean()), auc(late[rows], scores[rows]))


async def cron(first: Flights, traffic: Flights, folder: Path, seed: int) -> np.ndarray:
    """Scores of the monthly arm for every flight of the traffic, retrained at New York's first midnight of a month."""
    scores = np.full(len(traffic), np.nan)
    for month in sorted({int(month) for month in traffic.month}):
        midnight_us = int(datetime(2013, month, 1, tzinfo=ZoneInfo(NEW_YORK)).timestamp() * 1_000_000)
        landed = traffic.take((traffic.outcome_us > 0) & (traffic.outcome_us <= midnight_us))
        known = _joined(first.labelled().take(first.labelled().outcome_us <= midnight_us), landed)
        model = await pipeline.train(known, folder / f"{month:02d}", seed)
        rows = traffic.month == month
        scores[rows] = await asyncio.to_thread(pipeline.score, model, traffic.take(rows))
    return scores


def landed_by(first: Flights, traffic: Flights, at: datetime) -> Flights:
    """All flights whose outcome was known at a time."""
    at_us = int(at.timestamp() * 1_000_000)
    known = [part.take((part.outcome_us > 0) & (part.outcome_us <= at_us)) for part in (first, traffic)]
    return _joined(*known)


def _joined(first: Flights, then: Flights) -> Flights:
    return Flights(
        {name: np.concatenate([values, then.features[name]]) for name, values in first.features.items()},
        *(
            np.concatenate([getattr(first, field), getattr(then, field)])
            for field in ("event_us", "outcome_us", "late", "month", "origin")
        ),
    )


def by_week(flights: Flights, scores: np.ndarray) -> tuple[list[datetime], list[float]]:
    """Mean log loss of each full or partial week from the first flight on, with the middle of the week."""
    rows = (flights.late >= 0) & np.isfinite(scores)
    if not rows.any():
        return [], []
    start = int(flights.event_us.min())
    weeks = (flights.event_us[rows] - start) // WEEK_US
    losses = loss(flights.late[rows], scores[rows])
    numbers = np.unique(weeks)
    middles = [datetime.fromtimestamp((start + (int(week) + 0.5) * WEEK_US) / 1e6, UTC) for week in numbers]
    return middles, [float(losses[weeks == week].mean()) for week in numbers]
