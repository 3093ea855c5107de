"""Which rows run together, and whose they are afterwards: pure functions. Called by `usecases.turns`.

Rows of several requests go into one run only where a trial showed that this changes no byte of any answer (`Trial`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy.typing as npt

from gyrostat_inference.domain.calls import Output
from gyrostat_inference.domain.plan import Signature
from gyrostat_inference.domain.tensors import Tensors, stacked

NOT_TRIED = "nobody tried whether its rows may run together"

Encode = Callable[[npt.NDArray[Any]], bytes]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the trial process saw of a graph. `alone`: why requests must not run together; "": they may."""

    signature: Signature
    alone: str = NOT_TRIED


def alone_by_shape(signature: Signature) -> str:
    """Why the declared shapes keep requests apart; "" when they do not.

    >>> from gyrostat_inference.domain.plan import TensorSpec
    >>> alone_by_shape(Signature((TensorSpec("x", "FP32", (2, 3)),), ()))
    "input 'x' (FP32 [2, 3]) has no leading dynamic dimension"
    """
    for spec in signature.inputs:
        if not spec.batched:
            return f"input '{spec.name}' ({spec}) has no leading dynamic dimension"
    return "" if signature.inputs else "it has no inputs"


def has_open_shapes(signature: Signature) -> bool:
    """Whether rows of two requests may differ in shape."""
    return any(-1 in spec.shape[1:] for spec in signature.inputs)


def row_shapes(signature: Signature, tensors: Tensors) -> tuple[tuple[int, ...], ...]:
    """What must be equal, beside the version, for two requests to run together."""
    return tuple([tensors[spec.name].shape[1:] for spec in signature.inputs])


def elements(signature: Signature, tensors: Tensors) -> int:
    """Values in all inputs, at least 1: the size of a request where rows of one version differ in size."""
    return max(1, sum([prod(tensors[spec.name].shape) for spec in signature.inputs]))


def joined(signature: Signature, requests: Sequence[Tensors]) -> Mapping[str, npt.NDArray[Any]]:
    """The inputs of one run: the rows of all requests in their order, alike by `row_shapes`."""
    if len(requests) == 1:
        only = requests[0]
        return {spec.name: only[spec.name].values for spec in signature.inputs}
    return {spec.name: stacked(spec.name, requests) for spec in signature.inputs}


def row_wise(arrays: Sequence[npt.NDArray[Any]], rows: int) -> bool:
    """Whether every output has a row for each row that went in."""
    return all(array.shape[:1] == (rows,) for array in arrays)


def split(
    signature: Signature, arrays: Sequence[npt.NDArray[Any]], rows: Sequence[int], encode: Encode
) -> list[list[Output]]:
    """Each request's own outputs, in the order of the requests; `rows` is how many each of them brought."""
    specs = signature.outputs
    if len(rows) == 1:
        return [[Output(s.name, s.datatype, a, encode(a)) for s, a in zip(specs, arrays, strict=True)]]
    columns = [_parts(s.name, s.datatype, a, rows, encode) for s, a in zip(specs, arrays, strict=True)]
    return [list(share) for share in zip(*columns, strict=True)] or [[] for _ in rows]


def _parts(name: str, datatype: str, array: npt.NDArray[Any], rows: Sequence[int], encode: Encode) -> list[Output]:
    """One output of a run, cut into rows."""
    parts, start = [], 0
    if datatype == "BYTES":  # only texts differ in length
        for count in rows:
            own = array[start : start + count]
            parts.append(Output(name, datatype, own, encode(own)))
            start += count
        return parts
    # One encoding for all rows, of which each request gets its bytes.
    raw = encode(array)
    width, shapes = len(raw) // max(1, len(array)), {count: (count, *array.shape[1:]) for count in set(rows)}
    part = Output.part
    for count in rows:
        stop = start + count * width
        parts.append(part(name, datatype, shapes[count], raw[start:stop]))
        start = stop
    return parts
