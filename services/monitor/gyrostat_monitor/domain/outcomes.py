"""Outcomes: what really happened, and which prediction it is about. Corrections win by (recorded_at, event id)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.domain.frames import parse_row_id, row_id

MAX_AHEAD_US = 300_000_000


@dataclass(frozen=True)
class Ref:
    """How an outcome names its prediction: exactly one of the three."""

    prediction: tuple[bytes, int] | None = None
    request: tuple[str, int] | None = None
    entity: tuple[str, int] | None = None
    """(entity, µs): the last prediction at or before that time."""

    @property
    def text(self) -> str:
        """One line, the same for the same prediction: `id:…`, `request:…/row`, `entity:…@µs`."""
        if self.prediction is not None:
            return f"id:{row_id(*self.prediction)}"
        if self.request is not None:
            return f"request:{self.request[0]}/{self.request[1]}"
        if self.entity is not None:
            return f"entity:{self.entity[0]}@{self.entity[1]}"
        raise OutcomeInvalid("the outcome names no prediction: give prediction_id, request or entity")

    @property
    def key(self) -> str:
        """Record key: prediction id, request id or entity."""
        if self.prediction is not None:
            return row_id(*self.prediction)
        return self.request[0] if self.request is not None else (self.entity or ("", 0))[0]


def by_prediction(text: str) -> Ref:
    """From `<uuid>` or `<uuid>/<row>`."""
    return Ref(prediction=parse_row_id(text))


@dataclass(frozen=True)
class Outcome:
    """One outcome event. Times in microseconds; `observed` is event time, the others wall time."""

    event_id: str
    model: str
    ref: Ref
    value: float
    observed_us: int
    recorded_us: int
    ingested_us: int
    source: str = ""
    weight: float = 1.0
    topic_partition: str = ""
    offset: int = 0
    joined: tuple[bytes, int] | None = None
    """The prediction it is joined to already."""
    event_source: str = ""
    """Whose event it is: an event id is unique within its source only."""

    @property
    def rank(self) -> tuple[int, str]:
        """The highest wins."""
        return self.recorded_us, self.event_id


def winner(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The one that counts, whatever the order of arrival."""
    return max(outcomes, key=lambda o: o.rank, default=None)


def check(model: str, value: float, observed_us: int | None, weight: float, task: str | None, now_us: int) -> None:
    """Raises OutcomeInvalid with what is wrong. `task` None: the model is not known here yet."""
    if not model:
        raise OutcomeInvalid("the outcome names no model")
    if not isfinite(value):
        raise OutcomeInvalid(f"value {value} is not a finite number")
    if task == "binary" and value not in (0.0, 1.0):
        raise OutcomeInvalid(f"value {value:g}: {model} is a binary model, its outcomes are 0 or 1")
    if task == "multiclass" and (value < 0 or value != int(value)):
        raise OutcomeInvalid(f"value {value:g}: {model} is a multiclass model, its outcomes are class numbers")
    if observed_us is None:
        raise OutcomeInvalid("observed_at is required: when it became true")
    if observed_us > now_us + MAX_AHEAD_US:
        raise OutcomeInvalid("observed_at lies in the future")
    if not isfinite(weight) or weight < 0:
        raise OutcomeInvalid(f"weight {weight} must be a number >= 0")
