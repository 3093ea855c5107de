"""Frames as prediction.logged, and the sender that puts them on the log."""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain, groupby, repeat
from operator import mul
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import telemetry
from gyrostat_common.bus import Event, Producer
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_us
from gyrostat_inference.domain.alike import Alike
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number
from gyrostat_inference.domain.entries import ColumnSpec, Rows
from gyrostat_inference.domain.frames import Frame, Piece

SOURCE = "gyrostat-inference"
T = TypeVar("T")
log = telemetry.get_logger("inference.shipper")
_BY_DIGEST = "BYTES"
_NUMBERS = {code: struct.Struct(f"<{code}") for code in "qI"}


def frame_message(frame: Frame, number: Number, cut: Cut, books: Books, replica: str) -> pb.PredictionLogged:
    """The record's value; the same frame gives the same bytes."""
    group, said = frame.group, _said(frame.pieces)
    specs = [*group.inputs, *group.outputs]
    columns = zip(specs, said.columns, strict=True)
    made = [_column(spec, raw, place in frame.digested) for place, (spec, raw) in enumerate(columns)]
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
        rows=said.rows,
        prediction_ids=said.ids,
        row_numbers=said.row_numbers,
        request_ids=_texts(said.request_ids),
        entities=_texts(said.entities),
        event_times_us=said.event_times,
        arrival_times_us=said.arrival_times,
        latencies_us=said.latencies,
        future_event_times=_bits(said.futures),
        inputs=made[: len(group.inputs)],
        outputs=made[len(group.inputs) :],
        traces=_traces(said.traces),
        replica=replica,
        books=books_message(books),
    )


class _Said(NamedTuple):
    """What rows that lie side by side say: bytes as they stand in the record, lists with a value a row."""

    rows: int
    ids: bytes
    row_numbers: bytes
    event_times: bytes
    arrival_times: bytes
    latencies: bytes
    futures: list[bool]
    request_ids: list[bytes]
    entities: list[bytes]
    traces: list[bytes]
    columns: list[bytes]


def _said(pieces: Sequence[Piece]) -> _Said:
    parts = []
    for are_alike, together in groupby(pieces, lambda piece: isinstance(piece.entry, Alike)):
        if are_alike:
            parts += [_said_alike(piece.entry) for piece in together if isinstance(piece.entry, Alike)]
        else:
            parts.append(_said_each([*together]))
    if len(parts) == 1:
        return parts[0]
    join = b"".join
    return _Said(
        sum(part.rows for part in parts),
        join([part.ids for part in parts]),
        join([part.row_numbers for part in parts]),
        join([part.event_times for part in parts]),
        join([part.arrival_times for part in parts]),
        join([part.latencies for part in parts]),
        [flag for part in parts for flag in part.futures],
        [text for part in parts for text in part.request_ids],
        [text for part in parts for text in part.entities],
        [text for part in parts for text in part.traces],
        [join(column) for column in zip(*[part.columns for part in parts], strict=True)],
    )


def _said_alike(entry: Alike) -> _Said:
    return _Said(
        entry.rows,
        entry.prediction_ids,
        bytes(4 * entry.rows),
        entry.event_times,
        entry.arrival_times,
        entry.latencies,
        entry.futures,
        entry.request_ids,
        entry.entities,
        entry.traces,
        entry.columns(),
    )


def _said_each(pieces: Sequence[Piece]) -> _Said:
    entries: list[Rows] = [piece.entry for piece in pieces]  # type: ignore[misc]  # none that are alike
    # The same field of all entries, side by side.
    _, rows, events, arrivals, latencies, futures, ids, request_ids, traces, _, _, parts = zip(*entries, strict=True)
    return _Said(
        sum(rows),
        _by_row(ids, rows),
        b"".join([_row_numbers(piece.first_row, piece.entry.rows) for piece in pieces]),
        _by_row(_packed("q", events), rows),
        _by_row(_packed("q", arrivals), rows),
        _by_row(_packed("I", latencies), rows),
        _repeated(futures, rows),
        _repeated(request_ids, rows),
        _entities(entries),
        _repeated(traces, rows),
        [b"".join(part) for part in zip(*parts, strict=True)],
    )


def _packed(code: str, values: Sequence[int]) -> list[bytes]:
    """Each as it stands in a column, little-endian."""
    pack = _NUMBERS[code].pack
    return [pack(value) for value in values]


def _by_row(values: Sequence[bytes], rows: Sequence[int]) -> bytes:
    """Each value as often as its entry has rows."""
    return b"".join(map(mul, values, rows))


def _repeated(values: Sequence[T], rows: Sequence[int]) -> list[T]:
    return list(chain.from_iterable(map(repeat, values, rows)))


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


def _texts(texts: Sequence[bytes]) -> list[str]:
    """Nothing when all are empty."""
    return [text.decode(errors="replace") for text in texts] if any(texts) else []


def _entities(entries: Sequence[Rows]) -> list[bytes]:
    texts: list[bytes] = []
    for entry in entries:
        if entry.entity_by_row:
            at = 0
            for _ in range(entry.rows):
                size = int.from_bytes(entry.entities[at : at + 4], "little")
                texts.append(entry.entities[at + 4 : at + 4 + size])
                at += 4 + size
        else:
            texts += [entry.entities] * entry.rows
    return texts


def _bits(flags: Sequence[bool]) -> bytes:
    return np.packbits(flags, bitorder="little").tobytes() if any(flags) else b""


def _traces(traceparents: Sequence[bytes]) -> list[pb.RowTrace]:
    if not any(traceparents):
        return []
    traced = [(row, text) for row, text in enumerate(traceparents) if text]
    return [pb.RowTrace(row=row, traceparent=text.decode(errors="replace")) for row, text in traced]


def _parents(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """The traces in it, each once, in their order."""
    found: dict[bytes, None] = {}
    for piece in pieces:
        if isinstance(piece.entry, Alike):
            found |= dict.fromkeys(filter(None, piece.entry.traces))
        elif piece.entry.traceparent:
            found[piece.entry.traceparent] = None
    return tuple(trace.decode(errors="replace") for trace in found)


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
        parents = _parents(frame.pieces)
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
