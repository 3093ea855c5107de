"""What an entry of the spool says, as bytes: rows of one request, rows sampled out or dropped, or a group's definition.

Everything that rows of one version have in common (names, types, plan revision) is said once a segment, in a GROUP
entry, and named by number after that. The store frames entries with length, checksum and sequence number.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

from gyrostat_common.errors import InvalidInput

ROWS, SAMPLED, DROPPED, GROUP = 1, 2, 3, 4

ANSWER, SHADOW = 1, 2  # roles, numbered as in the contract

_FUTURE, _ENTITY_BY_ROW = 1, 2
# kind, group, rows, event time, arrival, latency, flags, and the lengths of request id, traceparent and entities
_HEAD = struct.Struct("<BIIqqIBHBI16s")
_COUNT = struct.Struct("<BI")


@cache
def _sizes(columns: int) -> struct.Struct:
    return struct.Struct(f"<{columns}I")


class NoEntry(InvalidInput):
    """The bytes say nothing that this release understands, though they are as they were written."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column of a group: one input or output; shape is one row's."""

    name: str
    datatype: str
    shape: tuple[int, ...] = ()
    sensitivity: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """What rows must share to go into one frame."""

    environment: str
    model: str
    version: int
    role: int
    variant: str
    plan_revision: int
    rollout_id: str
    inputs: tuple[ColumnSpec, ...]
    outputs: tuple[ColumnSpec, ...]

    def encode(self) -> bytes:
        def columns(specs: Sequence[ColumnSpec]) -> list[Any]:
            return [[c.name, c.datatype, list(c.shape), int(c.sensitivity)] for c in specs]

        head = [
            self.environment,
            self.model,
            self.version,
            self.role,
            self.variant,
            self.plan_revision,
            self.rollout_id,
        ]
        return json.dumps([*head, columns(self.inputs), columns(self.outputs)]).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        *head, inputs, outputs = json.loads(raw)

        def columns(specs: list[Any]) -> tuple[ColumnSpec, ...]:
            return tuple(ColumnSpec(name, datatype, tuple(shape), kept) for name, datatype, shape, kept in specs)

        environment, model, version, role, variant, revision, rollout = head
        return cls(environment, model, version, role, variant, revision, rollout, columns(inputs), columns(outputs))


class Rows(NamedTuple):
    """The rows of one request as one version scored them; a tuple, because there is one for every request.

    `prediction_id` is 16 bytes; `entities` is one entity for all rows (b"" for none) or, with `entity_by_row`, a BYTES
    column of them; `columns` are the group's inputs then outputs, raw.
    """

    group: int
    rows: int
    event_time_us: int
    arrival_us: int
    latency_us: int
    future: bool
    prediction_id: bytes
    request_id: bytes
    traceparent: bytes
    entities: bytes
    entity_by_row: bool
    columns: Sequence[bytes]

    def encode(self) -> bytes:
        group, rows, event_us, arrival_us, latency, future, uid, request_id, trace, entities, by_row, columns = self
        flags = (_FUTURE if future else 0) | (_ENTITY_BY_ROW if by_row else 0)
        if len(request_id) > 65535:
            request_id = request_id[:65535]
        head = _HEAD.pack(
            ROWS, group, rows, event_us, arrival_us, latency, flags, len(request_id), len(trace), len(entities), uid
        )
        sizes = _sizes(len(columns)).pack(*map(len, columns))
        return b"".join((head, request_id, trace, entities, sizes, *columns))

    @classmethod
    def decode(cls, raw: bytes, columns: int) -> Self:
        _, group, rows, event_us, arrival_us, latency, flags, n_request, n_trace, n_entity, uid = _HEAD.unpack_from(raw)
        after_request = _HEAD.size + n_request
        after_trace = after_request + n_trace
        at = after_trace + n_entity
        sizes = _sizes(columns).unpack_from(raw, at)
        names = raw[_HEAD.size : after_request], raw[after_request:after_trace], raw[after_trace:at]
        at += 4 * columns
        values = []
        for size in sizes:
            end = at + size
            values.append(raw[at:end])
            at = end
        if at != len(raw):
            raise ValueError("its columns do not fill it")
        future, by_row = bool(flags & _FUTURE), bool(flags & _ENTITY_BY_ROW)
        return cls(group, rows, event_us, arrival_us, latency, future, uid, *names, by_row, values)


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows that are not here: sampled out (reason "") or dropped."""

    rows: int
    reason: str = ""

    def encode(self) -> bytes:
        return _COUNT.pack(DROPPED if self.reason else SAMPLED, self.rows) + self.reason.encode()


def encode_group(number: int, group: Group) -> bytes:
    return _COUNT.pack(GROUP, number) + group.encode()


def decode(raw: bytes, groups: dict[int, Group]) -> Rows | Counted | None:
    """An entry's meaning; a group's definition is put into `groups` and gives None. Raises NoEntry."""
    try:
        return _meaning(raw, groups)
    except (ValueError, TypeError, LookupError, struct.error, RecursionError) as error:
        raise NoEntry(f"{len(raw)} bytes are no entry: {error}") from error


def _meaning(raw: bytes, groups: dict[int, Group]) -> Rows | Counted | None:
    kind, number = _COUNT.unpack_from(raw)
    if kind == ROWS:
        group = groups[number]
        return Rows.decode(raw, len(group.inputs) + len(group.outputs))
    if kind == GROUP:
        if number not in groups:  # a number never changes its meaning within a spool
            groups[number] = Group.decode(raw[_COUNT.size :])
        return None
    if kind in (SAMPLED, DROPPED):
        return Counted(number, raw[_COUNT.size :].decode())
    raise ValueError(f"no entry is of kind {kind}")
