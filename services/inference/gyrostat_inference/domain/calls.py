"""A request and its answer as values, between the wire and the use case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from gyrostat_inference.domain.tensors import Tensors

FUTURE_US = 5 * 60 * 1_000_000
# A request id or an entity goes with every row of a request into the log.
NAME_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it was decoded. `event_time_us` is None when the caller gave none: then it is the arrival's."""

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

    def event_time(self) -> tuple[int, bool]:
        """(event time, whether the caller's lay more than 5 minutes ahead of arrival and was replaced by it)."""
        if self.event_time_us is None:
            return self.arrival_us, False
        if self.event_time_us > self.arrival_us + FUTURE_US:
            return self.arrival_us, True
        return self.event_time_us, False


@dataclass(frozen=True, slots=True)
class Output:
    """An output tensor: its values, and their raw form as the protocol has it."""

    name: str
    datatype: str
    values: npt.NDArray[Any]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets."""

    version: int
    variant: str
    revision: int
    outputs: Sequence[Output]
