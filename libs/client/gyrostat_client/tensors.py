"""People's values to arrays of the type and rank that a model declares, and arrays back to readable values.

Pure functions over numpy. The wire format itself is `gyrostat_common.oip`'s; `inference` puts the messages together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput

Array = npt.NDArray[Any]


def columns(inputs: object) -> dict[str, object]:
    """Inputs by name from a mapping, a list of row mappings, or anything with columns (pandas, Polars, PyArrow)."""
    if isinstance(inputs, Mapping):
        return {str(name): values for name, values in inputs.items()}
    names = getattr(inputs, "column_names", None)  # PyArrow calls them so; pandas and Polars say `columns`
    if names is None:
        names = getattr(inputs, "columns", None)
    if names is not None:
        return {str(name): np.asarray(inputs[name]) for name in names}  # type: ignore[index]
    if isinstance(inputs, Sequence) and inputs and all(isinstance(row, Mapping) for row in inputs):
        return {str(name): [row.get(name) for row in inputs] for name in inputs[0]}
    raise InvalidInput("inputs are a mapping of names to values, a list of such rows, or a data frame")


def datatype_of(values: object) -> str:
    """The datatype that values have on their own: Python's numbers are FP32, whole ones INT64, text is BYTES."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(value is None or isinstance(value, int | float) for value in array.ravel()):
        return "FP32"
    if not hasattr(values, "dtype") and array.dtype == np.float64:
        return "FP32"
    return oip.datatype_of(array)


def shaped(name: str, values: object, shape: Sequence[int] | None) -> Array:
    """Values as an array of the declared rank (-1: any length). A scalar becomes one row; a list of n becomes n rows of
    one value, or one row of n where the declared row has more than one. InvalidInput when the ranks do not fit."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidInput(f"{name}: rows of different lengths make no tensor") from None
    if shape is None:
        return array.reshape(1, 1) if array.ndim == 0 else array[:, None] if array.ndim == 1 else array
    missing = len(shape) - array.ndim
    if missing < 0:
        raise InvalidInput(f"{name}: {array.ndim} dimensions given, the model has {len(shape)}: {list(shape)}")
    if array.ndim == 0:
        return array.reshape((1,) * len(shape))
    # A list for [-1, 1] is one value a row; for [-1, 20] it is one row of twenty.
    trailing = all(size == 1 for size in shape[array.ndim :])
    return array.reshape(array.shape + (1,) * missing if trailing else (1,) * missing + array.shape)


def cast(name: str, array: Array, datatype: str) -> Array:
    """The array in the datatype's type; InvalidInput when a value does not fit. None is NaN, or an empty string."""
    if datatype == "BYTES":
        cells = np.empty(array.size, dtype=object)
        cells[:] = [_cell(value) for value in array.ravel()]
        return cells.reshape(array.shape)
    if datatype not in oip.NUMPY:
        raise InvalidInput(f"{name}: {datatype} is no datatype of the protocol")
    wanted = np.dtype("<f4") if datatype == "BF16" else oip.NUMPY[datatype]
    numbers = _numbers(name, array, wanted)
    return bfloat16(numbers) if datatype == "BF16" else numbers


def readable(array: Array, datatype: str) -> Array:
    """An output as people want it: text where BYTES are UTF-8, 32-bit floats for BF16, else as it is."""
    if datatype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    if datatype != "BYTES":
        return array
    cells = np.empty(array.size, dtype=object)
    cells[:] = [text(value) for value in array.ravel()]
    return cells.reshape(array.shape)


def text(value: bytes) -> str | bytes:
    """Text where bytes are UTF-8, else the bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def bfloat16(numbers: Array) -> Array:
    """uint16 of the same shape: the upper halves of 32-bit floats, rounded to nearest even (IEEE 754)."""
    bits = np.ascontiguousarray(numbers, "<f4").view("<u4")
    halves: Array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return halves


def _cell(value: object) -> bytes:
    return b"" if value is None else value if isinstance(value, bytes) else str(value).encode()


def _numbers(name: str, array: Array, wanted: np.dtype[Any]) -> Array:
    """The array in a numeric type, refusing text, and fractions where the model takes whole numbers."""
    try:
        if array.dtype.kind in "OU":
            array = np.array([_number(value) for value in array.ravel().tolist()]).reshape(array.shape)
        if wanted.kind in "iu" and not _whole(array, wanted):
            raise InvalidInput(
                f"{name}: the model takes whole numbers from {np.iinfo(wanted).min} "
                f"to {np.iinfo(wanted).max} ({wanted.name})"
            )
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array.astype(wanted))
    except (TypeError, ValueError):
        first = next(iter(_not_numbers(array.ravel().tolist())), "a value")
        raise InvalidInput(f"{name}: {first!r} is not a number; the model takes {wanted.name}") from None


def _whole(array: Array, wanted: np.dtype[Any]) -> bool:
    """Whether every value is a whole number within the type's range."""
    limits = np.iinfo(wanted)
    if array.size == 0 or array.dtype.kind == "b":
        return True
    if array.dtype.kind == "f" and not np.all(np.isfinite(array) & (array == np.floor(array))):
        return False
    return bool(array.min() >= limits.min and array.max() <= limits.max)


def _number(value: object) -> Any:
    if value is None or value == "":
        return math.nan
    if isinstance(value, str):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value


def _not_numbers(values: Iterable[object]) -> Iterable[object]:
    for value in values:
        try:
            float(_number(value))
        except (TypeError, ValueError):
            yield value
