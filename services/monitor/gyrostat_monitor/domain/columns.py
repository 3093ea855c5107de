"""Columns of a micro-batch: little-endian bytes to numpy, without a copy where that is possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_monitor.domain.errors import FrameInvalid

DTYPES = {
    "BOOL": "u1", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@dataclass(frozen=True)
class ColumnValues:
    """Values of one tensor for all rows of a batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Shape of one row; () for a scalar."""
    values: npt.NDArray[Any] | list[bytes]
    """(rows * items,) numbers, or that many byte strings."""
    present: npt.NDArray[np.bool_] | None = None
    """One flag a row; None: all present."""

    @property
    def items(self) -> int:
        """Elements in a row."""
        return prod(self.shape)

    @property
    def is_text(self) -> bool:
        """Holds byte strings."""
        return self.datatype == "BYTES"

    def only(self, rows: npt.NDArray[np.bool_]) -> ColumnValues:
        """Those rows alone, one flag a row."""
        present = None if self.present is None else self.present[rows]
        elements = np.repeat(rows, self.items)
        if isinstance(self.values, list):
            values: npt.NDArray[Any] | list[bytes] = [self.values[i] for i in np.flatnonzero(elements).tolist()]
        else:
            values = self.values[elements]
        return replace(self, values=values, present=present)

    def scalars(self) -> npt.NDArray[np.float64] | list[str | None] | None:
        """The column as a profile bins it: floats with NaN, or texts with None; None when a row is not one value."""
        if self.items != 1:
            return None
        if isinstance(self.values, list):
            texts: list[str | None] = [v.decode("utf-8", "backslashreplace") for v in self.values]
            if self.present is not None:
                texts = [t if p else None for t, p in zip(texts, self.present, strict=True)]
            return texts
        numbers = self.values.astype(np.float64)
        if self.present is not None:
            numbers[~self.present] = np.nan
        return numbers

    def matrix(self) -> npt.NDArray[np.float64]:
        """(rows, items) floats; absent rows are NaN. Raises FrameInvalid for texts."""
        if isinstance(self.values, list):
            raise FrameInvalid(f"column {self.name!r} holds BYTES; a score is a number")
        out = self.values.astype(np.float64).reshape(-1, max(self.items, 1))
        if self.present is not None:
            out[~self.present] = np.nan
        return out


def decode_column(
    name: str, datatype: str, shape: tuple[int, ...], values: bytes, validity: bytes, rows: int
) -> ColumnValues:
    """Raises FrameInvalid when the bytes do not hold `rows` rows."""
    present = None
    if validity:
        if len(validity) * 8 < rows:
            raise FrameInvalid(f"column {name!r}: {len(validity)} validity bytes for {rows} rows")
        present = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[:rows].astype(bool)
    expected = rows * prod(shape)
    if datatype == "BYTES":
        decoded: npt.NDArray[Any] | list[bytes] = _texts(values)
    elif datatype == "BF16":
        decoded = (np.frombuffer(values, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif datatype in DTYPES:
        dtype = np.dtype(DTYPES[datatype])
        if len(values) != expected * dtype.itemsize:
            raise FrameInvalid(f"column {name!r} ({datatype}): {len(values)} bytes for {expected} values")
        decoded = np.frombuffer(values, dtype)
    else:
        raise FrameInvalid(f"column {name!r} has unknown datatype {datatype!r}")
    if len(decoded) != expected:
        raise FrameInvalid(f"column {name!r}: {len(decoded)} values for {rows} rows of shape {list(shape)}")
    return ColumnValues(name, datatype, shape, decoded, present)


def _texts(data: bytes) -> list[bytes]:
    out, at, end = [], 0, len(data)
    while at < end:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > end:
            raise FrameInvalid("a BYTES column ends inside an element")
        out.append(data[start:at])
    return out
