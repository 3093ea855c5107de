"""A request and its answer as values, between the wire and the use case."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from gyrostat_inference.domain.tensors import Form, Tensor, Tensors

FUTURE_US = 5 * 60 * 1_000_000
# A request id or an entity goes with every row of a request into the log.
NAME_BYTES = 1024


class Call(NamedTuple):
    """A request as it was decoded: a tuple, because one is made for every request and that is the cheapest value.

    `event_time_us` is None when the caller gave none: then it is the arrival's. `form` is None for an unusual request.
    """

    model: str
    version: str
    request_id: str
    prediction_id: bytes
    entity: str
    event_time_us: int | None
    arrival_us: int
    tensors: Tensors
    outputs: Sequence[str] = ()
    traceparent: str = ""
    decode_ns: int = 0
    form: Form | None = None

    def event_time(self) -> tuple[int, bool]:
        """(event time, whether the caller's lay more than 5 minutes ahead of arrival and was replaced by it)."""
        if self.event_time_us is None:
            return self.arrival_us, False
        if self.event_time_us > self.arrival_us + FUTURE_US:
            return self.arrival_us, True
        return self.event_time_us, False


class Output(Tensor):
    """An output tensor."""

    __slots__ = ("name",)

    def __init__(self, name: str, datatype: str, values: npt.NDArray[Any], raw: bytes) -> None:
        super().__init__(datatype, values, raw)
        self.name = name

    @classmethod
    def part(cls, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> "Output":
        """Raw bytes cut out of the answer to several requests; the values are read when somebody asks for them."""
        output = cls.__new__(cls)
        output.name, output.datatype, output.shape, output.raw, output._values = name, datatype, shape, raw, None
        return output


class Answer(NamedTuple):
    """What the caller gets."""

    version: int
    variant: str
    revision: int
    outputs: Sequence[Output]
