"""What may be kept of an input: applied to every row before it reaches the spool, never after."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain.entries import ColumnSpec
from gyrostat_inference.domain.frames import row_cells
from gyrostat_inference.domain.plan import Sensitivity, TensorSpec

_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Bins:
    """A number's profile bins: which one each value falls into, and the value that stands for each."""

    place: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    levels: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the inputs of one version are kept. `bins` by input, for BUCKET."""

    sensitivity: Mapping[str, Sensitivity]
    bins: Mapping[str, Bins]
    key: bytes

    def of(self, name: str, datatype: str) -> Sensitivity:
        """What really happens to an input: a BUCKET that has no bins, or is no number, is dropped to be safe."""
        wanted = self.sensitivity.get(name, Sensitivity.PLAIN)
        if wanted is Sensitivity.BUCKET and (name not in self.bins or datatype in ("BYTES", "BOOL", "BF16")):
            return Sensitivity.DROP
        return wanted

    def column(self, spec: TensorSpec, row_shape: tuple[int, ...]) -> ColumnSpec | None:
        """The column that an input becomes; None when nothing of it is kept."""
        kept = self.of(spec.name, spec.datatype)
        if kept is Sensitivity.DROP:
            return None
        if kept is Sensitivity.HASH:
            return ColumnSpec(spec.name, "BYTES", (), kept)
        return ColumnSpec(spec.name, spec.datatype, row_shape, kept)

    def values(
        self, spec: TensorSpec, row_shape: tuple[int, ...], values: npt.NDArray[Any], raw: bytes, rows: int
    ) -> bytes:
        """The column's bytes. Not for inputs that are dropped."""
        kept = self.of(spec.name, spec.datatype)
        if kept is Sensitivity.PLAIN:
            return raw
        if kept is Sensitivity.HASH:
            return b"".join(map(self.hashed, row_cells(ColumnSpec(spec.name, spec.datatype, row_shape), raw, rows)))
        bins = self.bins[spec.name]
        levels = bins.levels[bins.place(values.reshape(-1))]
        if values.dtype.kind in "iu":
            levels = np.rint(np.nan_to_num(levels))
        kept_raw: bytes = levels.astype(values.dtype).tobytes()
        return kept_raw

    def hashed(self, cell: bytes) -> bytes:
        """One BYTES element: the first 16 hex digits of a keyed SHA-256. Equal values stay equal."""
        digest = hmac.digest(self.key, cell, "sha256").hex()[:_HASH_DIGITS]
        return _HASH_DIGITS.to_bytes(4, "little") + digest.encode()

    def entity(self, name: str, entity: bytes) -> bytes:
        """An entity read from the input `name`, as far as that input may be kept."""
        if not entity:
            return b""
        kept = self.sensitivity.get(name, Sensitivity.PLAIN)
        if kept is Sensitivity.PLAIN:
            return entity
        if kept is Sensitivity.HASH:
            return self.hashed(len(entity).to_bytes(4, "little") + entity)[4:]
        return b""


def levels(edges: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """The middles of the bins between ascending `edges`, then what stands for below, above and missing."""
    bounds = np.concatenate([[low], edges, [high]]).astype(np.float64)
    return np.concatenate([(bounds[:-1] + bounds[1:]) / 2, [low, high, np.nan]])
