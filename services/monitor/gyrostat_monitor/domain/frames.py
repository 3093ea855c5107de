"""A frame: rows of one version in one role, as columns. Row identity is (16 bytes of prediction id, row number)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from gyrostat_monitor.domain.columns import ColumnValues
from gyrostat_monitor.domain.errors import FrameInvalid, OutcomeInvalid

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ANSWER, SHADOW = "answer", "shadow"
NAME_BYTES = 1024
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
# Beyond this a number's square, summed, is no number any more: such a score counts as none.
LARGEST = 1e30
_MODEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Frame:
    """One prediction.logged record, decoded."""

    stream: str
    frame_no: int
    environment: str
    model: str
    version: int
    role: str
    variant: str
    plan_revision: int
    rollout_id: str
    ids: tuple[bytes, ...]
    row_numbers: Ints
    event_us: Ints
    arrival_us: Ints
    latency_us: Ints
    future: npt.NDArray[np.bool_]
    inputs: tuple[ColumnValues, ...]
    outputs: tuple[ColumnValues, ...]
    request_ids: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    traces: Mapping[int, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.ids)

    @property
    def counts(self) -> bool:
        """Whether it belongs to live traffic: a caller that pinned a version is counted and stays out of statistics."""
        return not (self.role == ANSWER and self.variant == "pinned")

    @property
    def answers(self) -> bool:
        """Whether it drives drift and quality."""
        return self.role == ANSWER and self.counts

    def only(self, rows: npt.NDArray[np.bool_]) -> Frame:
        """The frame with those rows alone, one flag a row."""
        places = np.flatnonzero(rows).tolist()
        new = {old: at for at, old in enumerate(places)}
        return replace(
            self,
            ids=tuple(self.ids[i] for i in places),
            row_numbers=self.row_numbers[rows],
            event_us=self.event_us[rows],
            arrival_us=self.arrival_us[rows],
            latency_us=self.latency_us[rows],
            future=self.future[rows],
            inputs=tuple(column.only(rows) for column in self.inputs),
            outputs=tuple(column.only(rows) for column in self.outputs),
            request_ids=tuple(self.request_ids[i] for i in places) if self.request_ids else (),
            entities=tuple(self.entities[i] for i in places) if self.entities else (),
            traces={new[i]: trace for i, trace in self.traces.items() if i in new},
        )


def scores_of(frame: Frame, task: str, score_output: str) -> Floats:
    """(rows,) for binary and regression, (rows, classes) for multiclass; NaN where there is no score."""
    column = _score_column(frame, score_output)
    if column is None:
        return np.full(frame.rows, np.nan)
    matrix = column.matrix()
    matrix[np.abs(matrix) > LARGEST] = np.nan
    if task == "multiclass":
        return matrix
    return np.asarray(matrix[:, -1 if task == "binary" else 0], np.float64)


def _score_column(frame: Frame, score_output: str) -> ColumnValues | None:
    for column in frame.outputs:
        if column.name == score_output or (not score_output and column.datatype in ("FP16", "FP32", "FP64", "BF16")):
            return column
    return None


def is_model_name(name: str) -> bool:
    """Whether the registry could have given it: it becomes a folder of the archive."""
    return _MODEL.fullmatch(name) is not None


def is_name(text: str) -> bool:
    """Whether a caller's name can be a key here: at most NAME_BYTES, no NUL."""
    return len(text) <= NAME_BYTES and "\0" not in text and len(text.encode()) <= NAME_BYTES


def times_us(data: bytes, rows: int, what: str) -> Ints:
    """A column of times. Raises FrameInvalid for what is before the year 1 or after 9999."""
    found: Ints = fixed_width(data, "<i8", rows, what)
    if rows and not (int(found.min()) >= FIRST_US and int(found.max()) <= LAST_US):
        raise FrameInvalid(f"{what}: a time is not between the years 1 and 9999")
    return found


def bits(flags: bytes, rows: int) -> npt.NDArray[np.bool_]:
    """One flag a row, least significant bit first; nothing: all false."""
    if not flags:
        return np.zeros(rows, bool)
    if len(flags) * 8 < rows:
        raise FrameInvalid(f"{len(flags)} bytes of flags for {rows} rows")
    return np.unpackbits(np.frombuffer(flags, np.uint8), bitorder="little")[:rows].astype(bool)


def fixed_width(data: bytes, dtype: str, rows: int, what: str) -> npt.NDArray[Any]:
    """The numbers of a plain column. Raises FrameInvalid when their count is not the row count."""
    if len(data) != rows * np.dtype(dtype).itemsize:
        raise FrameInvalid(f"{what}: {len(data)} bytes for {rows} rows")
    return np.frombuffer(data, dtype)


def row_id(prediction_id: bytes, row: int) -> str:
    """`<uuid>/<row>`, the way a row is named everywhere."""
    h = prediction_id.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}/{row}"


def parse_row_id(text: str) -> tuple[bytes, int]:
    """(16 bytes, row) of `<uuid>` or `<uuid>/<row>`. Raises OutcomeInvalid."""
    name, _, row = text.partition("/")
    number = row or "0"
    try:
        if not (number.isascii() and number.isdecimal() and len(number) <= 10):
            raise ValueError(number)
        return UUID(name).bytes, int(number)
    except ValueError as error:
        raise OutcomeInvalid(f"{text[:80]!r} is not a prediction id such as <uuid>/<row>") from error
