"""The profile as a value: immutable, JSON on the wire, named by the SHA-256 of its canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from gyrostat_common.errors import InvalidInput
from gyrostat_common.profile.features import Between, Category, Column, Feature, Floats, Ints, Numeric, numbers

FORMAT = 1


class ProfileInvalid(InvalidInput):
    """The bytes are not a reference profile that this release can read."""


@dataclass(frozen=True)
class Score:
    """The score's reference: at most 256 bins by quantiles, calibrated probability per bin. Slots: bins, then
    `invalid`.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    calibrated: tuple[float, ...] = ()
    """Binary: isotonic P(y = 1 | bin); empty for other tasks."""
    mean: float = 0.0
    sd: float = 1.0
    predicted_share: float = 0.0
    """Share of rows whose predicted label is 1 (binary)."""
    threshold: float = 0.5
    between: tuple[Between, ...] = ()

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.edges) + 2

    @cached_property
    def _edges(self) -> Floats:
        return np.asarray(self.edges, np.float64)

    def bins(self, column: Column) -> Ints:
        """Slot of each row; a score that is no number has the last one."""
        x = numbers(column)
        out = np.searchsorted(self._edges, x, side="left").astype(np.int64)
        out[np.isnan(x)] = len(self.edges) + 1
        return out

    def bin_counts(self, column: Column) -> Ints:
        """Counts per slot."""
        return np.bincount(self.bins(column), minlength=self.slots).astype(np.int64)

    def distribution(self, counts: Ints) -> Ints:
        """Counts over the value bins alone."""
        return np.array(counts[:-1], np.int64)


@dataclass(frozen=True)
class ReferenceLoss:
    """Mean loss on the held-out rows with a 95 % interval (bootstrap over days) and its spread between days."""

    mean: float
    lower: float
    upper: float
    row_sd: float
    day_sd: float
    rows: int
    days: int


@dataclass(frozen=True)
class Residual:
    """Moments of label - score on the reference."""

    mean: float
    sd: float
    rows: int


@dataclass(frozen=True)
class Profile:
    """Everything the monitor compares a version with."""

    task: str
    features: tuple[Feature, ...]
    score: Score
    loss: ReferenceLoss | None = None
    residual: Residual | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0
    event_time_from_us: int = 0
    event_time_to_us: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))

    def feature(self, name: str) -> Feature | None:
        """The feature of that name, if it is profiled."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Feature]:
        return {f.name: f for f in self.features}

    def to_json(self) -> str:
        """Canonical JSON: the same profile gives the same bytes."""
        body = {
            "format": FORMAT,
            "task": self.task,
            "features": [asdict(f) for f in self.features],
            "score": asdict(self.score),
            "loss": asdict(self.loss) if self.loss else None,
            "residual": asdict(self.residual) if self.residual else None,
            "metrics": dict(self.metrics),
            "rows": self.rows,
            "event_time_from_us": self.event_time_from_us,
            "event_time_to_us": self.event_time_to_us,
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @cached_property
    def sha256(self) -> str:
        """Lower-case hex digest of `to_json()` in UTF-8."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str | bytes) -> Profile:
        """The profile in these bytes. Raises ProfileInvalid."""
        try:
            body = json.loads(text)
            if body["format"] != FORMAT:
                raise ProfileInvalid(f"profile format {body['format']} is unknown; this release reads {FORMAT}")
            return _decode(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProfileInvalid(f"not a reference profile: {error}") from error


def _decode(body: Mapping[str, Any]) -> Profile:
    return Profile(
        task=str(body["task"]),
        features=tuple(_feature(f) for f in body["features"]),
        score=Score(**_tuples(body["score"])),
        loss=ReferenceLoss(**body["loss"]) if body["loss"] else None,
        residual=Residual(**body["residual"]) if body["residual"] else None,
        metrics=body["metrics"],
        rows=int(body["rows"]),
        event_time_from_us=int(body["event_time_from_us"]),
        event_time_to_us=int(body["event_time_to_us"]),
    )


def _feature(body: Mapping[str, Any]) -> Feature:
    fields = _tuples(body)
    kind = fields.pop("kind")
    if kind == "numeric":
        return Numeric(**fields)
    if kind == "category":
        return Category(**fields)
    raise ProfileInvalid(f"feature kind {kind!r} is unknown")


def _tuples(body: Mapping[str, Any]) -> dict[str, Any]:
    out = {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}
    out["between"] = tuple(Between(**b) for b in body.get("between", ()))
    return out
