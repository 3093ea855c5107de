"""Frozen binnings of one input: numbers by quantile edges, categories by their most frequent values.

A column is summarised as counts over *slots*; slots of the same feature add up exactly over ticks, partitions
and versions of a batch. Column values: numbers as any numpy array (NaN = missing), categories as a sequence of
`str | None`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Column = npt.NDArray[Any] | Sequence[Any]

Z_SCALE = 1 << 20
"""Fixed point of standardised values: sums of integers are exact, whatever the order of the rows."""
Z2_SCALE = 1 << 16
Z_LIMIT = 1.0e4
RANGE_MARGIN = 5.0
"""A number is out of range when it lies further outside the reference's range than this many widths of that range."""


@dataclass(frozen=True)
class Between:
    """How the mean of a feature moves between consecutive periods of event time in the reference."""

    period_s: int
    lag: int
    """Largest distance of the compared periods: 1 neighbours, 2 next but one, 12 across a gap of 3 to 12 periods."""
    periods: int
    changes: int
    mean_sd: float
    """Standard deviation of the period means."""
    change_rms: float
    """Root mean square of the change from one period to the next."""
    change_max: float
    """Largest absolute change."""
    rows: float
    """Median rows in a period."""


class Counted:
    """What reference counts per slot tell, whatever the slots mean; the last one is `missing`."""

    counts: tuple[int, ...]

    @property
    def n(self) -> int:
        """Reference rows."""
        return sum(self.counts)

    @property
    def missing_share(self) -> float:
        """Share of reference rows without a value."""
        return self.counts[-1] / max(self.n, 1)


@dataclass(frozen=True)
class Numeric(Counted):
    """A numeric input. Slots: value bins, then `below`, `above` (out of range), `missing`."""

    name: str
    edges: tuple[float, ...]
    """Upper edges, ascending, at most 63: bin i holds edges[i-1] < x <= edges[i]."""
    counts: tuple[int, ...]
    """Reference counts, one per slot."""
    minimum: float
    maximum: float
    mean: float
    sd: float
    integer: bool
    mode_share: float
    """Share of the most frequent value; near 1 means that the feature is mostly one number (rain: none)."""
    between: tuple[Between, ...] = ()
    importance: float = 0.0
    kind: str = field(default="numeric", init=False)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.edges) + 4

    @property
    def values(self) -> int:
        """Number of value bins; the slots after them are `below`, `above`, `missing`."""
        return len(self.edges) + 1

    @cached_property
    def _edges(self) -> Floats:
        return np.asarray(self.edges, np.float64)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that counts as in range."""
        margin = RANGE_MARGIN * max(self.maximum - self.minimum, 3.0 * self.sd)
        return self.minimum - margin, self.maximum + margin

    def bins(self, column: Column) -> Ints:
        """(rows,) int64: the slot of each row."""
        x = numbers(column)
        out = np.searchsorted(self._edges, x, side="left").astype(np.int64)
        low, high = self.limits
        missing = np.isnan(x)
        out[x < low] = self.values
        out[x > high] = self.values + 1
        out[missing] = self.values + 2
        return out

    def bin_counts(self, column: Column) -> Ints:
        """(slots,) int64: rows per slot."""
        return np.bincount(self.bins(column), minlength=self.slots).astype(np.int64)

    def moments(self, column: Column) -> tuple[Ints, Ints]:
        """Two times (rows,) int64: the standardised value in units of 1/Z_SCALE, and its square in units of 1/Z2_SCALE;
        0 where missing, clipped at ±10,000 sd."""
        z = np.clip((numbers(column) - self.mean) / (self.sd or 1.0), -Z_LIMIT, Z_LIMIT)
        z = np.where(np.isnan(z), 0.0, z)
        return np.rint(z * Z_SCALE).astype(np.int64), np.rint(z * z * Z2_SCALE).astype(np.int64)

    def middle(self, column: Column) -> Floats:
        """(rows,) float64: each value replaced by the middle of its bin (bucket sensitivity); missing stays NaN."""
        x = numbers(column)
        bounds = np.concatenate(([self.minimum], self._edges, [self.maximum]))
        middles = (bounds[:-1] + bounds[1:]) / 2
        out = middles[np.searchsorted(self._edges, x, side="left")]
        return np.where(np.isnan(x), np.nan, out)

    def distribution(self, counts: Ints) -> Ints:
        """(values,) int64 from (slots,): out-of-range rows in the outermost bins, missing ones left out."""
        out = np.array(counts[: self.values], np.int64)
        out[0] += counts[self.values]
        out[-1] += counts[self.values + 1]
        return out


@dataclass(frozen=True)
class Category(Counted):
    """A categorical input. Slots: the top values, then `other` (rarer, but seen), `unseen`, `missing`."""

    name: str
    top: tuple[str, ...]
    others: tuple[str, ...]
    """Values seen in the reference beyond the top 64."""
    counts: tuple[int, ...]
    open_ended: bool = False
    """So many values that unseen ones are normal; they count as `other`."""
    between: tuple[Between, ...] = ()
    importance: float = 0.0
    kind: str = field(default="category", init=False)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.top) + 3

    @property
    def values(self) -> int:
        """Number of value slots (top values and `other`)."""
        return len(self.top) + 1

    @cached_property
    def _codes(self) -> Mapping[str | None, int]:
        codes: dict[str | None, int] = {value: i for i, value in enumerate(self.top)}
        codes.update(dict.fromkeys(self.others, len(self.top)))
        codes[None] = len(self.top) + 2
        return codes

    def bins(self, column: Column) -> Ints:
        """(rows,) int64: the slot of each row."""
        unseen = len(self.top) + (0 if self.open_ended else 1)
        codes = self._codes
        rows = [codes.get(value, unseen) for value in column]
        return np.asarray(rows, np.int64)

    def bin_counts(self, column: Column) -> Ints:
        """(slots,) int64: rows per slot."""
        return np.bincount(self.bins(column), minlength=self.slots).astype(np.int64)

    def distribution(self, counts: Ints) -> Ints:
        """(values + 1,) int64 from (slots,): top values, other and unseen; missing ones left out."""
        return np.array(counts[:-1], np.int64)


Feature = Numeric | Category


def numbers(column: Column) -> Floats:
    """A numeric column as (rows,) float64; None becomes NaN, infinities too: they are no value."""
    x = np.asarray(column)
    if x.dtype == object:
        x = np.asarray([np.nan if v is None else float(v) for v in column], np.float64)
    x = x.astype(np.float64, copy=False).reshape(-1)
    return np.where(np.isfinite(x), x, np.nan)
