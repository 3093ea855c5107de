"""A request's tensors against a version's signature, and the columns that its rows become."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain.errors import EmptyBatch, TooManyRows, WrongTensor
from gyrostat_inference.domain.plan import Signature, TensorSpec

# How raw contents are read; BYTES have their own form. BF16 has no numpy type: its two bytes are carried as uint16.
DTYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        "BF16": np.dtype("<u2"),
    }
)


class Tensor:
    """One tensor of a request or an answer: datatype, shape, its raw form as the protocol has it, and its values, which
    are a view made when somebody asks for them. Not changed after it is made.
    """

    __slots__ = ("_values", "datatype", "raw", "shape")

    def __init__(self, datatype: str, values: npt.NDArray[Any], raw: bytes) -> None:
        self.datatype, self.raw = datatype, raw
        self.shape: tuple[int, ...] = values.shape
        self._values: npt.NDArray[Any] | None = values

    @classmethod
    def unread(cls, datatype: str, shape: tuple[int, ...], raw: bytes) -> "Tensor":
        """Of raw contents whose size was found to fit; not for BYTES."""
        tensor = cls.__new__(cls)
        tensor.datatype, tensor.shape, tensor.raw, tensor._values = datatype, shape, raw, None
        return tensor

    @property
    def values(self) -> npt.NDArray[Any]:
        """Read-only where they are a view on the raw form."""
        values = self._values
        if values is None:
            values = self._values = np.frombuffer(self.raw, DTYPES[self.datatype]).reshape(self.shape)
        return values


Tensors = Mapping[str, Tensor]


class Form:
    """What requests to one model with equal heads have in common: everything but ids and values. There is one object
    for all of them, compared by identity, so that what was found out about it is one lookup away.
    """

    __slots__ = ("datatypes", "names", "outputs", "places", "rows", "shapes", "sizes")

    def __init__(self, tensors: Sequence[tuple[str, str, tuple[int, ...]]], outputs: Sequence[str]) -> None:
        self.names = tuple(name for name, _, _ in tensors)
        self.datatypes = tuple(datatype for _, datatype, _ in tensors)
        self.shapes = tuple(shape for _, _, shape in tensors)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.outputs = tuple(outputs)
        self.rows = max((shape[0] for shape in self.shapes if shape), default=0)
        """The most rows that a tensor declares."""
        self.sizes = [_size(datatype, shape) for _, datatype, shape in tensors]
        """Bytes of every raw tensor; -1 where they depend on the values."""


def _size(datatype: str, shape: tuple[int, ...]) -> int:
    return -1 if datatype == "BYTES" else DTYPES[datatype].itemsize * prod(shape)


class Columns(Mapping[str, Tensor]):
    """The tensors of a request in the usual form: raw contents in the order of the form's names. A Tensor is made when
    somebody asks for it; those of BYTES are read already.
    """

    __slots__ = ("_made", "form", "raws")

    def __init__(self, form: Form, raws: list[bytes], texts: dict[str, Tensor] | None = None) -> None:
        self.form, self.raws, self._made = form, raws, texts

    def __getitem__(self, name: str) -> Tensor:
        if self._made is None:
            self._made = {}
        tensor = self._made.get(name)
        if tensor is None:
            form = self.form
            place = form.places[name]
            tensor = Tensor.unread(form.datatypes[place], form.shapes[place], self.raws[place])
            self._made[name] = tensor
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.form.names)

    def __len__(self) -> int:
        return len(self.form.names)


def raw_bytes(tensors: Tensors) -> int:
    """Of all of them, as they came."""
    if isinstance(tensors, Columns):
        return sum(map(len, tensors.raws))
    return sum([len(tensor.raw) for tensor in tensors.values()])


def stacked(name: str, calls: Sequence[Tensors]) -> npt.NDArray[Any]:
    """One input of several requests, one under the other along the first dimension; the others are the same in all."""
    raws: list[bytes] = []
    rows, first = 0, calls[0]
    for tensors in calls:
        if type(tensors) is not Columns:
            break
        form = tensors.form
        place = form.places[name]
        if form.datatypes[place] == "BYTES":
            break
        raws.append(tensors.raws[place])
        rows += form.shapes[place][0] if form.shapes[place] else 0
    else:  # all are raw: no Tensor need be made
        form = first.form  # type: ignore[attr-defined]
        place = form.places[name]
        dtype, shape = DTYPES[form.datatypes[place]], form.shapes[place]
        if len(raws) == 1:
            return np.frombuffer(raws[0], dtype).reshape(shape)
        return np.frombuffer(b"".join(raws), dtype).reshape((rows, *shape[1:]))
    values = [tensors[name].values for tensors in calls]
    return values[0] if len(values) == 1 else np.concatenate(values)


def fits(spec: TensorSpec, tensor: Tensor) -> bool:
    """Whether datatype and every fixed dimension are the declared ones."""
    shape = tensor.shape
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
            got = f"{tensor.datatype} {list(tensor.shape)}"
            raise WrongTensor(f"{who}: input '{spec.name}' is {spec}, got {got}")
        if spec.batched:
            size = tensor.shape[0]
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
