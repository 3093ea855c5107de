"""Outcomes: what really happened, and which prediction it is about. Corrections win by (recorded_at, event id)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.domain.frames import LARGEST, NAME_BYTES, is_model_name, is_name, parse_row_id, row_id
from gyrostat_monitor.domain.policy import DIGEST, PLAIN, Policy

MAX_AHEAD_US = 300_000_000
LAST_ROW = 2**31 - 1
HEAVIEST = 1e6
_DIGEST = re.compile(r"[0-9a-f]{16}")


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


class Claim(Protocol):
    """An outcome as it is claimed, by a caller or on the topic; what `check` looks at."""

    @property
    def model(self) -> str: ...
    @property
    def ref(self) -> Ref: ...
    @property
    def value(self) -> float: ...
    @property
    def observed_us(self) -> int | None: ...
    @property
    def recorded_us(self) -> int | None: ...
    @property
    def source(self) -> str: ...
    @property
    def weight(self) -> float: ...


def check(claim: Claim, policy: Policy | None, now_us: int) -> None:
    """Raises OutcomeInvalid with what is wrong. `policy` None: the model is not known here yet."""
    if not claim.model:
        raise OutcomeInvalid("the outcome names no model")
    if not is_model_name(claim.model):
        raise OutcomeInvalid(f"{claim.model[:80]!r} is no model: 1 to 63 of a-z, 0-9, - and _")
    _check_names(claim)
    _check_entity(claim, policy)
    _check_value(claim, policy.task if policy else None)
    if claim.observed_us is None:
        raise OutcomeInvalid("observed_at is required: when it became true")
    for what, at_us in (("observed_at", claim.observed_us), ("recorded_at", claim.recorded_us)):
        if at_us is not None and at_us > now_us + MAX_AHEAD_US:
            raise OutcomeInvalid(f"{what} lies in the future")
        if at_us is not None and at_us < 0:
            raise OutcomeInvalid(f"{what} is before 1970-01-01, which is taken for a mistake")


def _check_names(claim: Claim) -> None:
    """Names are keys of tables and of records."""
    ref = claim.ref
    names = [("source", claim.source)]
    if ref.prediction is None:  # which is an id and a number, and so a name
        _ = ref.text
        names.append(("its prediction's name", ref.key))
    for what, name in names:
        if not is_name(name):
            raise OutcomeInvalid(f"{what} has {len(name.encode()):,} bytes, or a NUL; at most {NAME_BYTES:,} and none")
    named = ref.prediction or ref.request
    if named is not None and not 0 <= named[1] <= LAST_ROW:
        raise OutcomeInvalid(f"row {str(named[1])[:20]} is none: rows are numbered 0 to {LAST_ROW}")


def _check_entity(claim: Claim, policy: Policy | None) -> None:
    """An entity that the predictions may not hold in plain matches none of them, and its text would be kept here. The
    message does not quote it: it goes into logs.
    """
    if claim.ref.entity is None or policy is None or policy.entity_kept == PLAIN:
        return
    who, others = f"{claim.model}: its entity, input '{policy.entity_input}',", "its prediction id or its request id"
    if policy.entity_kept != DIGEST:
        raise OutcomeInvalid(f"{who} is not kept (sensitivity): name the prediction by {others}")
    if not _DIGEST.fullmatch(claim.ref.entity[0]):
        raise OutcomeInvalid(
            f"{who} is kept as a digest (sensitivity): name the prediction by the digest's 16 hex digits, {others}"
        )


def _check_value(claim: Claim, task: str | None) -> None:
    model, value = claim.model, claim.value
    if not isfinite(value):
        raise OutcomeInvalid(f"value {value} is not a finite number")
    if abs(value) > LARGEST:
        raise OutcomeInvalid(f"value {value:g} is beyond {LARGEST:g}: its squares could not be summed")
    if task == "binary" and value not in (0.0, 1.0):
        raise OutcomeInvalid(f"value {value:g}: {model} is a binary model, its outcomes are 0 or 1")
    if task == "multiclass" and (value < 0 or value != int(value)):
        raise OutcomeInvalid(f"value {value:g}: {model} is a multiclass model, its outcomes are class numbers")
    if not isfinite(claim.weight) or not 0 <= claim.weight <= HEAVIEST:
        raise OutcomeInvalid(f"weight {claim.weight:g} must be a number from 0 to {HEAVIEST:g}")
