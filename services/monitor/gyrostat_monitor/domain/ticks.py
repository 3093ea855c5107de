"""Ticks: additive counts of one version's answers in one small interval of event time.

A tick is a vector of integers laid out by the version's profile: per feature its bin counts, the sum of standardised
values
and of their squares in fixed point. Integers add up exactly, so windows are sums of ticks, and the order of rows, the
partitioning and restarts cannot change a figure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gyrostat_common.profile import Numeric, Profile
from gyrostat_common.profile.features import Z2_SCALE, Z_LIMIT, Z_SCALE
from gyrostat_monitor.domain.frames import Floats, Frame, Ints, row_id

ROWS, FUTURE = 0, 1
HEAD = 2
EXEMPLARS = 4
SCORE = "score"


@dataclass(frozen=True)
class Moments:
    """Mean and variance of one scalar in its own units."""

    rows: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Layout:
    """Where each scalar's counts lie in a tick's vector. Without a profile only rows are counted."""

    profile: Profile | None

    @cached_property
    def places(self) -> Mapping[str, tuple[int, int]]:
        """Scalar → (first position, slots). Two moments follow the slots."""
        places, at = {}, HEAD
        if self.profile is not None:
            for name, slots in [*((f.name, f.slots) for f in self.profile.features), (SCORE, self.profile.score.slots)]:
                key = name if name not in places else f"{name}#{at}"
                places[key] = (at, slots)
                at += slots + 2
        return places

    @cached_property
    def size(self) -> int:
        """Length of the vector."""
        return max((at + slots + 2 for at, slots in self.places.values()), default=HEAD)

    @property
    def key(self) -> str:
        """Names the layout: vectors of different layouts never add up."""
        return "" if self.profile is None else self.profile.sha256

    def counts(self, vector: Ints, scalar: str) -> Ints:
        """Slot counts of a scalar."""
        at, slots = self.places[scalar]
        return vector[at : at + slots]

    def moments(self, vector: Ints, scalar: str) -> Moments:
        """Mean and standard deviation of a scalar over the rows that have a value."""
        at, slots = self.places[scalar]
        counts, z, z2 = vector[at : at + slots], int(vector[at + slots]), int(vector[at + slots + 1])
        rows = int(counts.sum() - counts[-1])
        mean, sd = self._scale(scalar)
        if rows == 0:
            return Moments(0, float("nan"), float("nan"))
        zm = z / Z_SCALE / rows
        return Moments(rows, mean + sd * zm, sd * float(np.sqrt(max(z2 / Z2_SCALE / rows - zm * zm, 0.0))))

    def _scale(self, scalar: str) -> tuple[float, float]:
        assert self.profile is not None
        if scalar == SCORE:
            return self.profile.score.mean, self.profile.score.sd or 1.0
        feature = self.profile.feature(scalar)
        assert isinstance(feature, Numeric)
        return feature.mean, feature.sd or 1.0


@dataclass(frozen=True)
class Tick:
    """Counts of one tick with a few of its rows as exemplars: (order key, row id), smallest keys."""

    vector: Ints
    exemplars: tuple[tuple[int, str], ...] = ()

    def plus(self, other: Tick) -> Tick:
        """The sum of two ticks of one layout."""
        merged = sorted({*self.exemplars, *other.exemplars})[:EXEMPLARS]
        return Tick(self.vector + other.vector, tuple(merged))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.vector[ROWS])


def count(layout: Layout, frames: Sequence[Frame], scores: Floats, tick_us: int) -> dict[int, Tick]:
    """Tick start (µs) → counts of the rows of these frames. `scores` one scalar a row, in the frames' order."""
    events = np.concatenate([f.event_us for f in frames])
    starts, index = np.unique(events // tick_us, return_inverse=True)
    vectors = np.zeros((len(starts), layout.size), np.int64)
    vectors[:, ROWS] = np.bincount(index, minlength=len(starts))
    np.add.at(vectors[:, FUTURE], index, np.concatenate([f.future for f in frames]).astype(np.int64))
    if layout.profile is not None:
        for feature in layout.profile.features:
            column, rows = _column(frames, feature.name, isinstance(feature, Numeric))
            if column is None:
                continue
            at, slots = layout.places[feature.name]
            _add(vectors, index[rows], feature.bins(column), at, slots)
            if isinstance(feature, Numeric):
                _add_moments(vectors, index[rows], *feature.moments(column), at + slots)
        _count_score(layout, vectors, index, scores)
    exemplars = _exemplars(frames, index, len(starts))
    return {
        int(start) * tick_us: Tick(vector, chosen)
        for start, vector, chosen in zip(starts, vectors, exemplars, strict=True)
    }


def _count_score(layout: Layout, vectors: Ints, index: Ints, scores: Floats) -> None:
    assert layout.profile is not None
    score = layout.profile.score
    at, slots = layout.places[SCORE]
    _add(vectors, index, score.bins(scores), at, slots)
    z = np.clip((scores - score.mean) / (score.sd or 1.0), -Z_LIMIT, Z_LIMIT)
    z = np.where(np.isfinite(z), z, 0.0)
    fixed = np.rint(z * Z_SCALE).astype(np.int64), np.rint(z * z * Z2_SCALE).astype(np.int64)
    _add_moments(vectors, index, *fixed, at + slots)


def _column(frames: Sequence[Frame], name: str, numeric: bool) -> tuple[Floats | list[str | None] | None, Ints]:
    """The feature's values over the frames that logged it in its own type (dropped and hashed inputs are not
    binned).
    """
    parts, rows, at = [], [], 0
    for frame in frames:
        for column in frame.inputs:
            if column.name == name and column.items == 1 and column.is_text != numeric:
                parts.append(column.scalars())
                rows.append(np.arange(at, at + frame.rows))
        at += frame.rows
    if not parts:
        return None, np.zeros(0, np.int64)
    if numeric:
        return np.concatenate([np.asarray(p, np.float64) for p in parts]), np.concatenate(rows)
    return [v for p in parts if p is not None for v in p], np.concatenate(rows)


def _add(vectors: Ints, index: Ints, bins: Ints, at: int, slots: int) -> None:
    flat = np.bincount(index * slots + bins, minlength=len(vectors) * slots)
    vectors[:, at : at + slots] += flat.reshape(len(vectors), slots)


def _add_moments(vectors: Ints, index: Ints, z: Ints, z2: Ints, at: int) -> None:
    np.add.at(vectors[:, at], index, z)
    np.add.at(vectors[:, at + 1], index, z2)


def _exemplars(frames: Sequence[Frame], index: Ints, ticks: int) -> list[tuple[tuple[int, str], ...]]:
    """Per tick the rows with the smallest keys; the key comes from the id alone, so the choice merges exactly."""
    ids = [i for f in frames for i in f.ids]
    numbers = np.concatenate([f.row_numbers for f in frames])
    keys = np.frombuffer(b"".join(i[8:] for i in ids), ">u8").astype(np.uint64)
    keys = ((keys ^ (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))) >> np.uint64(1)).astype(np.int64)
    order = np.lexsort((keys, index))
    chosen: list[list[tuple[int, str]]] = [[] for _ in range(ticks)]
    first = np.searchsorted(index[order], np.arange(ticks))
    last = np.append(first[1:], len(order))
    for tick, (a, b) in enumerate(zip(first, last, strict=True)):
        chosen[tick] = [(int(keys[i]), row_id(ids[i], int(numbers[i]))) for i in order[a : min(b, a + EXEMPLARS)]]
    return [tuple(c) for c in chosen]


def total(layout: Layout, ticks: Iterable[Tick]) -> Tick:
    """The sum of ticks; nothing gives a tick without rows."""
    out = Tick(np.zeros(layout.size, np.int64))
    for tick in ticks:
        out = out.plus(tick)
    return out


def encode(vector: Ints) -> bytes:
    """Bytes for the store: deltas are mostly zeros, so they compress to a few hundred bytes."""
    return zlib.compress(np.ascontiguousarray(vector, "<i8").tobytes(), 1)


def decode(data: bytes) -> Ints:
    """The inverse of `encode`."""
    return np.frombuffer(zlib.decompress(data), "<i8").astype(np.int64)
