"""One row per prediction out of the columnar micro-batches of `prediction.logged`.

Pure functions from the event to values; used by `events tail` and by anyone who reads the topic with the SDK.
"""

import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2
from gyrostat_client.tensors import readable, text
from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_us

_ROLES = {events_pb2.ROLE_ANSWER: "answer", events_pb2.ROLE_SHADOW: "shadow"}
_KEPT = {
    model_pb2.SENSITIVITY_HASH: "hash",
    model_pb2.SENSITIVITY_BUCKET: "bucket",
    model_pb2.SENSITIVITY_DROP: "drop",
}


class BadFrame(InvalidInput):
    """A frame whose columns do not fit its row count."""


@dataclass(frozen=True)
class PredictionRow:
    """One prediction by one version in one role. A value is None where it was absent or dropped."""

    id: str
    model: str
    version: int
    role: str
    variant: str
    environment: str
    plan_revision: int
    rollout_id: str
    request_id: str
    entity: str
    event_time: datetime
    arrival_time: datetime
    latency_us: int
    future_event_time: bool
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    sensitivity: dict[str, str]
    traceparent: str
    stream: str
    frame_no: int


def rows(frame: events_pb2.PredictionLogged) -> Iterator[PredictionRow]:
    """The predictions of a frame in order; BadFrame when a column does not hold one value a row."""
    count = frame.rows
    ids = _prediction_ids(frame)
    event_times = _fixed(frame.event_times_us, "q", count, "event_times_us")
    arrival_times = _fixed(frame.arrival_times_us, "q", count, "arrival_times_us")
    latencies = _fixed(frame.latencies_us, "I", count, "latencies_us")
    inputs = {column.name: column_values(column, count) for column in frame.inputs}
    outputs = {column.name: column_values(column, count) for column in frame.outputs}
    kept = {column.name: _KEPT[column.sensitivity] for column in frame.inputs if column.sensitivity in _KEPT}
    traces = {trace.row: trace.traceparent for trace in frame.traces}
    future = _bits(frame.future_event_times, count, default=False)
    for row in range(count):
        yield PredictionRow(
            id=ids[row],
            model=frame.model,
            version=frame.version,
            role=_ROLES.get(frame.role, ""),
            variant=frame.variant,
            environment=frame.environment or "production",
            plan_revision=frame.plan_revision,
            rollout_id=frame.rollout_id,
            request_id=_nth(frame.request_ids, row),
            entity=_nth(frame.entities, row),
            event_time=from_us(event_times[row]),
            arrival_time=from_us(arrival_times[row]),
            latency_us=latencies[row],
            future_event_time=future[row],
            inputs={name: values[row] for name, values in inputs.items()},
            outputs={name: values[row] for name, values in outputs.items()},
            sensitivity=kept,
            traceparent=traces.get(row, ""),
            stream=frame.stream,
            frame_no=frame.frame_no,
        )


def column_values(column: events_pb2.Column, count: int) -> list[Any]:
    """The values of a column as Python values, one a row: a scalar, or nested lists of the row's shape."""
    if column.sensitivity == model_pb2.SENSITIVITY_DROP:
        return [None] * count
    present = _bits(column.validity, count, default=True)
    width = int(np.prod(column.shape, dtype=np.int64)) if column.shape else 1
    flat = _elements(column)
    if len(flat) == count * width:
        cells: Iterator[int] = iter(range(count))
    elif len(flat) == sum(present) * width:  # absent rows take no room
        cells = iter(_running(present))
    else:
        raise BadFrame(f"column {column.name}: {len(flat)} values for {count} rows of {width}")
    take = _scalar(flat) if width == 1 else _shaped(flat, width, list(column.shape))
    return [take(cell) if there else None for there, cell in zip(present, cells, strict=True)]


def _elements(column: events_pb2.Column) -> Any:
    """All elements of a column in order."""
    if column.datatype == "BYTES":
        return [text(element) for element in oip.unpack_bytes(column.values)]
    if column.datatype not in oip.NUMPY:
        raise BadFrame(f"column {column.name}: {column.datatype!r} is no datatype of the protocol")
    dtype = oip.NUMPY[column.datatype]
    if len(column.values) % dtype.itemsize:
        raise BadFrame(f"column {column.name}: {len(column.values)} bytes are no whole number of {column.datatype}")
    return readable(np.frombuffer(column.values, dtype), column.datatype)


def _scalar(flat: Sequence[Any]) -> Callable[[int], Any]:
    return lambda cell: _plain(flat[cell])


def _shaped(flat: Sequence[Any], width: int, shape: list[int]) -> Callable[[int], Any]:
    def take(cell: int) -> Any:
        values = np.asarray(
            flat[cell * width : (cell + 1) * width], dtype=None if isinstance(flat, np.ndarray) else object
        )
        return values.reshape(shape).tolist()

    return take


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _running(present: list[bool]) -> Iterator[int]:
    """For every row the number of present rows before it."""
    seen = 0
    for there in present:
        yield seen
        seen += there


def _bits(packed: bytes, count: int, *, default: bool) -> list[bool]:
    """One bit a row, least significant first; empty means the default for all."""
    if not packed:
        return [default] * count
    if len(packed) * 8 < count:
        raise BadFrame(f"{len(packed)} bytes of bits for {count} rows")
    return [bool(packed[row >> 3] >> (row & 7) & 1) for row in range(count)]


def _fixed(raw: bytes, code: str, count: int, name: str) -> tuple[int, ...]:
    """Little endian integers, one a row; zeros when the column is absent."""
    if not raw:
        return (0,) * count
    if len(raw) != count * struct.calcsize("<" + code):
        raise BadFrame(f"{name}: {len(raw)} bytes for {count} rows")
    return struct.unpack(f"<{count}{code}", raw)


def _prediction_ids(frame: events_pb2.PredictionLogged) -> list[str]:
    """`<uuid>/<row>` of every row."""
    if len(frame.prediction_ids) != 16 * frame.rows:
        raise BadFrame(f"prediction_ids: {len(frame.prediction_ids)} bytes for {frame.rows} rows")
    numbers = _fixed(frame.row_numbers, "I", frame.rows, "row_numbers")
    ids = (uuid.UUID(bytes=frame.prediction_ids[16 * row : 16 * row + 16]) for row in range(frame.rows))
    return [f"{prediction}/{number}" for prediction, number in zip(ids, numbers, strict=True)]


def _nth(values: Sequence[str], row: int) -> str:
    return values[row] if row < len(values) else ""
