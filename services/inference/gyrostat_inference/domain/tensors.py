"""A request's tensors against a version's signature, and the columns that its rows become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from gyrostat_inference.domain.errors import EmptyBatch, TooManyRows, WrongTensor
from gyrostat_inference.domain.plan import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a request: its values, and their raw form as the protocol has it."""

    datatype: str
    values: npt.NDArray[Any]
    raw: bytes


Tensors = Mapping[str, Tensor]


def fits(spec: TensorSpec, tensor: Tensor) -> bool:
    """Whether datatype and every fixed dimension are the declared ones."""
    shape = tensor.values.shape
    return (
        tensor.datatype == spec.datatype
        and len(shape) == len(spec.shape)
        and all(want in (-1, have) for want, have in zip(spec.shape, shape, strict=True))
    )


def rows_of(who: str, signature: Signature, tensors: Tensors, known: frozenset[str], max_rows: int) -> int:
    """Number of rows of a request that fits the signature.

    `who` begins the messages ("flights:4"); `known` are inputs of any live version of the model: one that this version
    does not have is left out, so that versions may differ in their inputs while a roll-out is open.
    Raises WrongTensor, EmptyBatch, TooManyRows.
    """
    rows = -1
    for spec in signature.inputs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise WrongTensor(f"{who}: input '{spec.name}' ({spec}) is missing; got {_names(tensors)}")
        if not fits(spec, tensor):
            got = f"{tensor.datatype} {list(tensor.values.shape)}"
            raise WrongTensor(f"{who}: input '{spec.name}' is {spec}, got {got}")
        if spec.batched:
            size = tensor.values.shape[0]
            if rows not in (-1, size):
                raise WrongTensor(f"{who}: input '{spec.name}' has {size} rows, the inputs before it {rows}")
            rows = size
    if len(tensors) > len(signature.inputs):
        _refuse_unknown(who, signature, tensors, known)
    if rows == 0:
        raise EmptyBatch(f"{who}: the request has no rows")
    if rows > max_rows:
        raise TooManyRows(f"{who}: {rows} rows in one request; at most {max_rows} are allowed")
    return rows if rows > 0 else 1


def _refuse_unknown(who: str, signature: Signature, tensors: Tensors, known: frozenset[str]) -> None:
    for name in tensors:
        if name not in known:
            expected = ", ".join(f"'{spec.name}' ({spec})" for spec in signature.inputs)
            raise WrongTensor(f"{who}: no input is named '{name}'; inputs: {expected}")


def chosen_outputs(who: str, signature: Signature, wanted: Sequence[str]) -> list[int]:
    """Positions of the outputs that were asked for; none asked: all. Raises WrongTensor."""
    if not wanted:
        return list(range(len(signature.outputs)))
    places = {spec.name: place for place, spec in enumerate(signature.outputs)}
    for name in wanted:
        if name not in places:
            raise WrongTensor(f"{who}: no output is named '{name}'; outputs: {', '.join(places)}")
    return [places[name] for name in wanted]


def _names(tensors: Tensors) -> str:
    return ", ".join(f"'{name}'" for name in tensors) or "no inputs"
