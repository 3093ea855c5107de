"""Tensors as JSON has them: nested or flat lists to arrays, and back. For the REST twin and for warming up.

Stricter than numpy: a number with a fraction is no INT64, true is no number, and a value that does not fit is refused,
because a caller must not be answered for values other than those that were sent. JSON has no NaN and no infinity, so
these are the texts "NaN", "Infinity" and "-Infinity", as protobuf writes them; Python's own words are read too.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain.errors import WrongTensor

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMPY: dict[str, str] = {
    "BOOL": "?",
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "BF16": "<f4",
}
_MOST_DIMENSIONS = 32


def array_of(datatype: str, shape: Sequence[int], given: Any, what: str) -> npt.NDArray[Any]:
    """The values in the tensor's shape; BYTES are text, BF16 its two bytes as uint16. Raises WrongTensor, beginning
    with `what`.
    """
    if datatype != "BYTES" and datatype not in _NUMPY:
        raise WrongTensor(f"{what}: unknown datatype '{datatype[:80]}'; known: {', '.join((*_NUMPY, 'BYTES'))}")
    if any(size < 0 for size in shape):
        raise WrongTensor(f"{what}: shape {list(shape)} has a negative dimension")
    if len(shape) > _MOST_DIMENSIONS:
        raise WrongTensor(f"{what}: {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are allowed")
    flat, count = _flat(given, shape, what), math.prod(shape)
    if len(flat) != count:
        raise WrongTensor(f"{what}: shape {list(shape)} needs {count} values, got {len(flat)}")
    if datatype == "BYTES":
        return _texts(flat, shape, what)
    values = _numbers(datatype, flat, what).reshape(tuple(shape))
    return _to_bfloat16(values) if datatype == "BF16" else values


def values_of(datatype: str, array: npt.NDArray[Any]) -> list[Any]:
    """The values, flat and row by row, as JSON can hold them."""
    flat: list[Any]
    if datatype == "BYTES":
        flat = list(array.ravel().tolist())
        return [value if isinstance(value, str) else bytes(value).decode() for value in flat]
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    flat = list(array.ravel().tolist())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if math.isfinite(value) else _word(value) for value in flat]
    return flat


def _flat(given: Any, shape: Sequence[int], what: str) -> list[Any]:
    """Lists in lists must have the sizes of the shape; one flat list is taken as it is."""
    if not isinstance(given, list):
        raise WrongTensor(f"{what}: its data is no list")
    for place, size in enumerate(shape[1:], 1):
        if not given or not isinstance(given[0], list):
            break
        if place == 1 and len(given) != shape[0]:
            raise WrongTensor(f"{what}: shape {list(shape)} needs {shape[0]} rows, got {len(given)}")
        for inner in given:
            if not isinstance(inner, list) or len(inner) != size:
                raise WrongTensor(f"{what}: the nested lists of its data do not have shape {list(shape)}")
        given = list(chain.from_iterable(given))
    return list(given)


def _texts(flat: list[Any], shape: Sequence[int], what: str) -> npt.NDArray[Any]:
    if not all(type(value) is str for value in flat):
        raise WrongTensor(f"{what}: an element of BYTES is a text")
    values = np.empty(len(flat), dtype=object)
    values[:] = flat
    return values.reshape(tuple(shape))


def _numbers(datatype: str, flat: list[Any], what: str) -> npt.NDArray[Any]:
    kinds: set[type] = set(map(type, flat))
    allowed: set[type]
    kind = np.dtype(_NUMPY[datatype])
    if datatype == "BOOL":
        allowed, named = {bool}, "true or false"
    elif kind.kind == "f":
        allowed, named = {int, float, str}, 'a number, "NaN", "Infinity" or "-Infinity"'
    else:
        allowed, named = {int}, "a whole number"
    if not kinds <= allowed:
        raise WrongTensor(f"{what}: an element of {datatype} is {named}")
    if str in kinds:
        flat = [_number(value, datatype, what) for value in flat]
    try:
        with np.errstate(over="ignore"):
            values = np.array(flat, dtype=kind)
    except OverflowError:
        raise WrongTensor(f"{what}: a value does not fit {datatype}") from None
    infinite = int(np.isinf(values).sum()) if kind.kind == "f" else 0
    if infinite and infinite != sum(map(_infinite, flat)):
        raise WrongTensor(f"{what}: a value does not fit {datatype}")
    return values


def _number(value: Any, datatype: str, what: str) -> Any:
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        raise WrongTensor(f'{what}: an element of {datatype} is a number, "NaN", "Infinity" or "-Infinity"')
    return _WORDS[value]


def _infinite(value: float) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _to_bfloat16(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The nearest bfloat16, ties to even, as its two bytes."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype("<u2")
