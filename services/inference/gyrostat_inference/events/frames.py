"""Frames as prediction.logged, and the sender that puts them on the log."""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from operator import mul
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
_NUMBERS = {code: struct.Struct(f"<{code}") for code in "qI"}


def frame_message(frame: Frame, number: Number, cut: Cut, books: Books, replica: str) -> pb.PredictionLogged:
    """The record's value; the same frame gives the same bytes."""
    group, entries = frame.group, [piece.entry for piece in frame.pieces]
    # The same field of all entries, side by side.
    _, rows, events, arrivals, latencies, futures, ids, request_ids, traces, _, _, parts = zip(*entries, strict=True)
    columns = [b"".join(part) for part in zip(*parts, strict=True)]
    specs = [*group.inputs, *group.outputs]
    made = [_column(s, raw, place in frame.digested) for place, (s, raw) in enumerate(zip(specs, columns, strict=True))]
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
        rows=sum(rows),
        prediction_ids=_by_row(ids, rows),
        row_numbers=b"".join([_row_numbers(piece.first_row, piece.entry.rows) for piece in frame.pieces]),
        request_ids=_texts(request_ids, rows),
        entities=_entities(entries),
        event_times_us=_by_row(_packed("q", events), rows),
        arrival_times_us=_by_row(_packed("q", arrivals), rows),
        latencies_us=_by_row(_packed("I", latencies), rows),
        future_event_times=_bits(futures, rows),
        inputs=made[: len(group.inputs)],
        outputs=made[len(group.inputs) :],
        traces=_traces(traces, rows),
        replica=replica,
        books=books_message(books),
    )


def _packed(code: str, values: Sequence[int]) -> list[bytes]:
    """Each as it stands in a column, little-endian."""
    pack = _NUMBERS[code].pack
    return [pack(value) for value in values]


def _by_row(values: Sequence[bytes], rows: Sequence[int]) -> bytes:
    """Each value as often as its entry has rows."""
    return b"".join(map(mul, values, rows))


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


def _texts(texts: Sequence[bytes], rows: Sequence[int]) -> list[str]:
    if not any(texts):
        return []
    return list(chain.from_iterable(map(repeat, [text.decode() for text in texts], rows)))


def _entities(entries: Sequence[Rows]) -> list[str]:
    texts: list[str] = []
    if not any(entry.entities for entry in entries):
        return texts
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


def _bits(flags: Sequence[bool], rows: Sequence[int]) -> bytes:
    if not any(flags):
        return b""
    value = at = 0
    for flag, count in zip(flags, rows, strict=True):
        if flag:
            value |= ((1 << count) - 1) << at
        at += count
    return value.to_bytes((at + 7) // 8, "little")


def _traces(traceparents: Sequence[bytes], rows: Sequence[int]) -> list[pb.RowTrace]:
    traces: list[pb.RowTrace] = []
    if not any(traceparents):
        return traces
    at = 0
    for traceparent, count in zip(traceparents, rows, strict=True):
        if traceparent:
            text = traceparent.decode()
            traces += [pb.RowTrace(row=at + row, traceparent=text) for row in range(count)]
        at += count
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
