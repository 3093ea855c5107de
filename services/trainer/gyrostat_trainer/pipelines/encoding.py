"""Columns of a table as the float32 matrix a tree sees, and the code tables that go into the graph with it.

A category's code is its rank by smoothed mean label, so that a split `code <= t` separates late carriers from
punctual ones. What was not seen often enough, or not at all, is NaN: the trees send it where they send a missing
value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gyrostat_trainer.pipelines.contract import NOBODYS, TEXT, Contract, Tensor, carried
from gyrostat_trainer.pipelines.door import JobRefused

Floats = NDArray[np.float32]

# Rows that the overall mean counts for when a category's own mean is taken.
SMOOTHING_ROWS = 50.0
# Datatypes whose values a tree sees as the column has them.
_AS_IT_IS = ("FP32", "FP64")


@dataclass(frozen=True)
class Feature:
    """One model input: a number (codes is None) or a category with its codes by text; `datatype` as callers send it."""

    name: str
    codes: dict[str, float] | None = None
    datatype: str = "FP32"

    @property
    def is_category(self) -> bool:
        return self.codes is not None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds categories (text, maybe dictionary-encoded or as bytes)."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def learn(
    table: pa.Table,
    names: list[str],
    labels: NDArray[np.float64],
    min_category_rows: int,
    contract: Contract = NOBODYS,
) -> tuple[Feature, ...]:
    """The features of a training table, in the order of `names`.

    JobRefused names a column of a type no tree can take, or that is text where callers send numbers or the reverse.
    """
    features = []
    for name in names:
        column, sent = table.column(name), contract.input(name)
        _check_kind(column.type, sent, contract)
        if is_text(column.type):
            features.append(Feature(name, _codes(column, labels, min_category_rows), TEXT))
        elif (
            pa.types.is_integer(column.type)
            or pa.types.is_floating(column.type)
            or pa.types.is_boolean(column.type)
            or pa.types.is_null(column.type)
        ):
            features.append(Feature(name, datatype=sent.datatype))
        else:
            raise JobRefused(f"column {name!r} is {column.type}; a model input is a number, a boolean or text")
    return tuple(features)


def _check_kind(kind: pa.DataType, sent: Tensor, contract: Contract) -> None:
    if any(tensor.name == sent.name for tensor in contract.inputs) and is_text(kind) != (sent.datatype == TEXT):
        what = "text" if is_text(kind) else "numbers"
        raise JobRefused(f"column {sent.name!r} is {what}, and callers send {sent.datatype}; import it as they send it")


def _codes(column: pa.ChunkedArray, labels: NDArray[np.float64], min_rows: int) -> dict[str, float]:
    rank, texts = _indices(column)
    present = rank >= 0
    rows = np.bincount(rank[present], minlength=len(texts)).astype(np.float64)
    sums = np.bincount(rank[present], weights=labels[present], minlength=len(texts))
    mean = (sums + SMOOTHING_ROWS * float(labels.mean())) / (rows + SMOOTHING_ROWS)
    kept = [i for i in range(len(texts)) if rows[i] >= min_rows and texts[i]]
    kept.sort(key=lambda i: (mean[i], texts[i]))
    return {texts[i]: float(code) for code, i in enumerate(kept)}


def _indices(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Index of each row's text among the distinct texts (-1: null), and the texts."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    encoded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    index = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return index, [str(text) for text in encoded.dictionary.to_pylist()]


def matrix(table: pa.Table, features: tuple[Feature, ...]) -> Floats:
    """[rows, features] float32, exactly what the graph computes from the same inputs."""
    out = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for i, feature in enumerate(features):
        column = table.column(feature.name)
        if feature.codes is None and feature.datatype not in _AS_IT_IS:
            numbers = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            out[:, i] = carried(numbers, feature.datatype)
        elif feature.codes is None:
            values = pc.cast(column, pa.float32(), safe=False)
            out[:, i] = values.to_numpy() if values.null_count == 0 else pc.fill_null(values, np.nan).to_numpy()
        else:
            index, texts = _indices(column)
            lookup = np.array([feature.codes.get(text, np.nan) for text in texts] + [np.nan], dtype=np.float32)
            out[:, i] = lookup[index]
    return out
