"""What really happened: outcomes told to the monitor, one by one or from a file.

An outcome names its prediction in one of three ways: by prediction id, by the caller's request id and row, or by entity
and time. A file is sent in batches whose request ids derive from its content, so that sending it again changes nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.calls import Endpoint, new_request_id
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import parse_rfc3339, to_proto

_BATCH_ROWS = 1000
_COLUMNS = (
    "model",
    "prediction_id",
    "request_id",
    "row",
    "entity",
    "at",
    "value",
    "observed_at",
    "recorded_at",
    "source",
    "weight",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one prediction. Exactly one of `prediction_id`, `request_id` and `entity` (with `at`) is given."""

    model: str
    value: float
    observed_at: datetime
    prediction_id: str = ""
    request_id: str = ""
    row: int = 0
    entity: str = ""
    at: datetime | None = None
    recorded_at: datetime | None = None
    source: str = ""
    weight: float = 0.0

    def to_message(self) -> monitor_pb2.Outcome:
        """The contract's message; InvalidInput when the prediction is not named in exactly one way."""
        message = monitor_pb2.Outcome(
            model=self.model,
            prediction=self._reference(),
            value=self.value,
            observed_at=to_proto(self.observed_at),
            source=self.source,
            weight=self.weight,
        )
        if (recorded_at := to_proto(self.recorded_at)) is not None:
            message.recorded_at.CopyFrom(recorded_at)
        return message

    def _reference(self) -> events_pb2.PredictionRef:
        ways = [bool(self.prediction_id), bool(self.request_id), bool(self.entity)]
        if sum(ways) != 1:
            raise InvalidInput(
                "an outcome names its prediction by prediction_id, or by request_id (and row), "
                "or by entity and at: give exactly one"
            )
        if self.prediction_id:
            return events_pb2.PredictionRef(prediction_id=self.prediction_id)
        if self.request_id:
            return events_pb2.PredictionRef(
                request=events_pb2.PredictionRef.ByRequest(request_id=self.request_id, row=self.row)
            )
        if self.at is None:
            raise InvalidInput(f"the outcome of entity {self.entity!r} needs `at`, the time of its prediction")
        return events_pb2.PredictionRef(
            entity=events_pb2.PredictionRef.ByEntity(entity=self.entity, at=to_proto(self.at))
        )


class AsyncOutcomes:
    """Tells the monitor what really happened."""

    def __init__(self, monitor: Endpoint) -> None:
        self._monitor = monitor

    async def record(self, outcomes: Sequence[Outcome] | Outcome, *, request_id: str = "") -> Sequence[str]:
        """Records up to 10,000 outcomes; they are durable when this returns. Gives their event ids, in order."""
        rows = [outcomes] if isinstance(outcomes, Outcome) else outcomes
        request = monitor_pb2.RecordOutcomesRequest(
            request_id=request_id or new_request_id(), outcomes=[row.to_message() for row in rows]
        )
        reply = await self._monitor.unary("RecordOutcomes", request, monitor_pb2.RecordOutcomesResponse)
        return reply.event_ids

    async def record_file(self, file: Path, *, model: str = "", source: str = "") -> int:
        """Records every row of a CSV, Parquet or JSONL file and gives their number; a repeat changes nothing."""
        digest, outcomes = read_outcomes(file, model=model, source=source)
        for number, start in enumerate(range(0, len(outcomes), _BATCH_ROWS)):
            batch_id = str(uuid5(NAMESPACE_URL, f"{digest}/{model}/{source}/{number}"))
            await self.record(outcomes[start : start + _BATCH_ROWS], request_id=batch_id)
        return len(outcomes)


class Outcomes(Blocking):
    """AsyncOutcomes without `await`."""

    record = blocking(AsyncOutcomes.record)
    record_file = blocking(AsyncOutcomes.record_file)


def read_outcomes(file: Path, *, model: str = "", source: str = "") -> tuple[str, list[Outcome]]:
    """A file's SHA-256 and its outcomes; InvalidInput names the line that is wrong."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    found = []
    for number, row in enumerate(_rows(file, content), start=1):
        try:
            found.append(outcome_of(row, model=model, source=source))
        except (InvalidInput, ValueError, TypeError) as error:
            raise InvalidInput(f"{file}, row {number}: {error}") from None
    return hashlib.sha256(content).hexdigest(), found


def outcome_of(row: Mapping[str, Any], *, model: str = "", source: str = "") -> Outcome:
    """An outcome from named values as a file has them; `model` and `source` fill what the row leaves out."""
    if unknown := sorted(set(row) - set(_COLUMNS)):
        raise InvalidInput(f"unknown column {', '.join(unknown)}; known are {', '.join(_COLUMNS)}")
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    if "value" not in given or "observed_at" not in given:
        raise InvalidInput("value and observed_at are required")
    if not (named := str(given.get("model", model))):
        raise InvalidInput("no model: name one with --model or in a column `model`")
    return Outcome(
        model=named,
        value=float(given["value"]),
        observed_at=_time(given["observed_at"]),
        prediction_id=str(given.get("prediction_id", "")),
        request_id=str(given.get("request_id", "")),
        row=int(given.get("row", 0)),
        entity=str(given.get("entity", "")),
        at=_time(given["at"]) if "at" in given else None,
        recorded_at=_time(given["recorded_at"]) if "recorded_at" in given else None,
        source=str(given.get("source", source)),
        weight=float(given.get("weight", 0.0)),
    )


def _rows(file: Path, content: bytes) -> Iterator[Mapping[str, Any]] | Iterable[Mapping[str, Any]]:
    """The rows of a file by the kind that its name says."""
    if file.suffix == ".jsonl":
        import json

        return [json.loads(line) for line in content.decode().splitlines() if line.strip()]
    if file.suffix == ".csv":
        import csv

        return csv.DictReader(content.decode().splitlines())
    if file.suffix in (".parquet", ".pq"):
        import pyarrow.parquet

        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
        return rows
    raise InvalidInput(f"{file}: outcomes are read from .csv, .jsonl and .parquet files")


def _time(value: object) -> datetime:
    """A time of a file; without a zone it is UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    text = str(value)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return parse_rfc3339(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
