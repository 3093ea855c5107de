"""What callers of a model send and read, and what becomes of a number in a tensor of theirs.

The trainer hands a pipeline the champion's signature through the door; a candidate that answers to the same tensors can
take the champion's place without a caller noticing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT = "BYTES"
_FLOATS: dict[str, type[np.floating[Any]]] = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
_INTEGERS: dict[str, type[np.integer[Any]]] = {
    **{f"INT{bits}": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
}
NUMBERS = frozenset({*_FLOATS, *_INTEGERS, "BOOL"})
LABELS = frozenset({*_INTEGERS, "BOOL"})


@dataclass(frozen=True)
class Tensor:
    """One input or output as the protocol names it; a dimension of -1 is dynamic, the first is the batch."""

    name: str
    datatype: str = "FP32"
    shape: tuple[int, ...] = (-1, 1)

    @property
    def is_column(self) -> bool:
        """Whether a row has one value here, and one of a kind that a table has."""
        one = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] in (-1, 1))
        return one and (self.datatype == TEXT or self.datatype in NUMBERS)

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True)
class Contract:
    """The champion's tensors, and which output its score is; empty: nobody calls the model yet."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    score_output: str = ""

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """ValueError when it is not the JSON of a signature; an empty text is nobody's."""
        if not text.strip():
            return cls()
        given = json.loads(text)
        try:
            return cls(_tensors(given, "inputs"), _tensors(given, "outputs"), str(given.get("score_output", "")))
        except (AttributeError, KeyError, TypeError) as exc:
            raise ValueError(f"inputs and outputs have name, datatype and shape ({exc!r})") from exc

    def input(self, name: str) -> Tensor:
        """How callers send an input; one that nobody sends yet is FP32 or text of shape [-1, 1]."""
        return next((tensor for tensor in self.inputs if tensor.name == name), Tensor(name))

    def takes(self, name: str) -> bool:
        """Whether callers send it, a value per row. Where nobody calls yet, everything may be asked for."""
        return not self.inputs or any(tensor.name == name and tensor.is_column for tensor in self.inputs)

    @property
    def score(self) -> Tensor | None:
        """The output that callers read the score from: the one named, else the first floating one."""
        floating = [tensor for tensor in self.outputs if tensor.datatype in _FLOATS]
        named = [tensor for tensor in floating if tensor.name == self.score_output]
        return next(iter([*named, *floating]), None)

    @property
    def label(self) -> Tensor | None:
        """The output that holds the decided class as a number, if there is one."""
        return next((t for t in self.outputs if t.datatype in LABELS and t.is_column), None)


NOBODYS = Contract()


def _tensors(given: dict[str, Any], side: str) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(str(one["name"]), str(one["datatype"]), tuple(int(dim) for dim in one.get("shape", ())))
        for one in given.get(side, ())
    )


def carried(values: NDArray[Any], datatype: str) -> NDArray[Any]:
    """The values as a tensor of that datatype carries them: an integer cannot be missing (it is 0) nor lie beyond its
    range (it is the limit), what is missing is not true.
    """
    if datatype in _FLOATS:
        with np.errstate(over="ignore"):
            return np.asarray(values, dtype=_FLOATS[datatype])
    known = np.where(np.isnan(values), 0.0, values).astype(np.float64)
    if datatype == "BOOL":
        return np.asarray(known != 0.0)
    kind = _INTEGERS[datatype]
    low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    # The largest 64-bit integer is no float64; the float next to it would be one too many.
    high = high if int(high) <= int(np.iinfo(kind).max) else float(np.nextafter(high, 0.0))
    return np.clip(known, low, high).astype(kind)
