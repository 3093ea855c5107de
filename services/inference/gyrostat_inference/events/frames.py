"""Frames as prediction.logged, and the sender that puts them on the log."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import telemetry
from gyrostat_common.bus import Event, Producer
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_us
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number
from gyrostat_inference.domain.entries import ColumnSpec, Rows
from gyrostat_inference.domain.frames import Frame

SOURCE = "gyrostat-inference"
log = telemetry.get_logger("inference.shipper")
_BY_DIGEST = "BYTES"


def frame_message(frame: Frame, number: Number, cut: Cut, books: Books, replica: str) -> pb.PredictionLogged:
    """The record's value; the same frame gives the same bytes."""
    group, entries = frame.group, [piece.entry for piece in frame.pieces]
    columns = [b"".join(parts) for parts in zip(*(entry.columns for entry in entries), strict=True)]
    specs = [*group.inputs, *group.outputs]
    made = [_column(s, raw, place in frame.digested) for place, (s, raw) in enumerate(zip(specs, columns, strict=True))]
    rows = frame.rows
    return pb.PredictionLogged(
        stream=f"{books.spool_id}/{number.model}/{number.partition}",
        frame_no=number.frame_no,
        first_sequence=frame.first_sequence,
        last_sequence=frame.last_sequence,
        environment=group.environment,
        model=group.model,
        version=group.version,
        role=group.role,  # type: ignore[arg-type]
        variant=group.variant,
        plan_revision=group.plan_revision,
        rollout_id=group.rollout_id,
        rows=rows,
        prediction_ids=b"".join(entry.prediction_id * entry.rows for entry in entries),
        row_numbers=b"".join(_row_numbers(piece.first_row, piece.entry.rows) for piece in frame.pieces),
        request_ids=_texts((entry.request_id.decode(), entry.rows) for entry in entries),
        entities=_entities(entries),
        event_times_us=b"".join(
            entry.event_time_us.to_bytes(8, "little", signed=True) * entry.rows for entry in entries
        ),
        arrival_times_us=b"".join(
            entry.arrival_us.to_bytes(8, "little", signed=True) * entry.rows for entry in entries
        ),
        latencies_us=b"".join(entry.latency_us.to_bytes(4, "little") * entry.rows for entry in entries),
        future_event_times=_bits([(entry.future, entry.rows) for entry in entries]),
        inputs=made[: len(group.inputs)],
        outputs=made[len(group.inputs) :],
        traces=_traces(entries),
        replica=replica,
        books=books_message(books),
    )


def _counted(first: int, end: int) -> bytes:
    return b"".join(row.to_bytes(4, "little") for row in range(first, end))


_KNOWN_ROWS = 4096
_ROW_NUMBERS = _counted(0, _KNOWN_ROWS)


def _row_numbers(first: int, rows: int) -> bytes:
    """As uint32, little-endian; cut out of what is counted already where that reaches."""
    end = first + rows
    return _ROW_NUMBERS[4 * first : 4 * end] if end <= _KNOWN_ROWS else _counted(first, end)


def books_message(books: Books) -> pb.SpoolBooks:
    return pb.SpoolBooks(
        spool_id=books.spool_id,
        accepted=books.accepted,
        logged=books.logged,
        sampled_out=books.sampled_out,
        waiting=books.waiting,
        dropped=books.dropped,
    )


def _column(spec: ColumnSpec, raw: bytes, by_digest: bool) -> pb.Column:
    if by_digest:
        return pb.Column(name=spec.name, datatype=_BY_DIGEST, values=raw, sensitivity=spec.sensitivity, by_digest=True)  # type: ignore[arg-type]
    return pb.Column(
        name=spec.name,
        datatype=spec.datatype,
        shape=spec.shape,
        values=raw,
        sensitivity=spec.sensitivity,  # type: ignore[arg-type]
    )


def _texts(runs: Any) -> list[str]:
    texts = list(chain.from_iterable([text] * rows for text, rows in runs))
    return texts if any(texts) else []


def _entities(entries: Sequence[Rows]) -> list[str]:
    texts: list[str] = []
    for entry in entries:
        if entry.entity_by_row:
            at = 0
            for _ in range(entry.rows):
                size = int.from_bytes(entry.entities[at : at + 4], "little")
                texts.append(entry.entities[at + 4 : at + 4 + size].decode(errors="replace"))
                at += 4 + size
        else:
            texts += [entry.entities.decode()] * entry.rows
    return texts if any(texts) else []


def _bits(runs: list[tuple[bool, int]]) -> bytes:
    if not any(flag for flag, _ in runs):
        return b""
    value = at = 0
    for flag, rows in runs:
        if flag:
            value |= ((1 << rows) - 1) << at
        at += rows
    return value.to_bytes((at + 7) // 8, "little")


def _traces(entries: Sequence[Rows]) -> list[pb.RowTrace]:
    traces, at = [], 0
    for entry in entries:
        if entry.traceparent:
            text = entry.traceparent.decode()
            traces += [pb.RowTrace(row=at + row, traceparent=text) for row in range(entry.rows)]
        at += entry.rows
    return traces


class Rejects(Protocol):
    """Keeps what the broker refuses; false when there is no room for it."""

    def reject(self, name: str, value: bytes) -> bool: ...


class Artifacts(Protocol):
    """The artifact store, as far as large values need it."""

    async def put_bytes(self, content: bytes) -> Any: ...


class FrameSender:
    """Sends frames of one spool; made for `usecases.ship`."""

    def __init__(self, producer: Producer, artifacts: Artifacts, rejects: Rejects, replica: str) -> None:
        self._producer, self._artifacts, self._rejects, self._replica = producer, artifacts, rejects, replica

    async def send(self, frame: Frame, number: Number, cut: Cut, books: Books) -> None:
        """Raises InvalidInput, after putting the frame aside, when the broker will never take it."""
        message = frame_message(frame, number, cut, books, self._replica)
        parents = tuple(dict.fromkeys(p.entry.traceparent.decode() for p in frame.pieces if p.entry.traceparent))
        name = f"{message.stream}/{message.frame_no}"
        event = Event(
            payload=message,
            key=number.model,
            subject=f"{number.model}:{frame.group.version}",
            source=SOURCE,
            id=name,
            time=from_us(cut.at_us),
            traceparent=parents[0] if parents else "",
            links=parents[1:],
            partition=number.partition,
        )
        try:
            await self._producer.send(event)
        except InvalidInput as error:
            value = message.SerializeToString()
            kept = self._rejects.reject(name, value)
            log.error(
                "frame_refused", frame=name, rows=frame.rows, bytes=len(value), kept=kept, reason=str(error)[:300]
            )
            raise

    async def keep(self, values: Mapping[str, bytes]) -> None:
        for value in values.values():
            await self._artifacts.put_bytes(value)
