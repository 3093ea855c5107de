"""What is kept of an answer: its rows, as sensitivity allows, with their times and entities, put into a spool.

Called by `predict` for answers and shadows alike, after the run and before the reply. Next: the shipper.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import NAME_BYTES, Call, Output
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows
from gyrostat_inference.domain.live import MOST_FITS, LiveModel, LoadedVersion
from gyrostat_inference.domain.plan import Sensitivity, TensorSpec
from gyrostat_inference.domain.tensors import Columns


class AnswerLog(Protocol):
    """A spool, as those who write to it see it."""

    @property
    def full(self) -> bool: ...
    @property
    def share(self) -> float:
        """Of new predictions, what is to be kept at the moment: less than 1 while it fills."""
        ...

    @property
    def left_bytes(self) -> int: ...
    def number(self, group: Group) -> int: ...
    def append(self, group: Group, rows: Rows) -> None:
        """Takes the rows in."""
        ...

    def count(self, rows: int, reason: str) -> None:
        """Takes in that rows are not kept: sampled out (reason "") or dropped."""
        ...

    def write(self) -> None:
        """Returns when all that was taken in is in the file; to be called before the first of its answers leaves."""
        ...

    async def flush(self) -> None: ...
    async def until_room(self) -> None:
        """Returns when there is room again."""
        ...


class Scored(NamedTuple):
    """What one version made of one call. `role` is ANSWER or SHADOW; the outputs are in the order of the signature,
    none when the version could not score the rows.
    """

    version: LoadedVersion
    role: int
    variant: str
    rows: int
    outputs: Sequence[Output]
    spent_ns: int


class _Kept(NamedTuple):
    """What calls of one form that one version scored have in common in the spool."""

    group: Group
    inputs: Sequence[int] | None
    """Places in the request of the inputs that are columns as they came; None: they must be made."""
    outputs: Sequence[int]
    plain_entity: bool
    """The entity is the request's, as it is."""


def record(log: AnswerLog, live: LiveModel, call: Call, scored: Scored, share: float) -> None:
    """Puts the rows into the spool, or counts them as sampled out: for a prediction always both roles alike, if they
    come with the same `share`, what the spool kept when the call was answered. Whoever calls lets the log write before
    the answer leaves.
    """
    version, _, _, rows, outputs, spent_ns = scored
    rate = live.plan.spec.log_sample_rate * share
    if rate < 1.0 and not routing.sampled(rate, "log", call.prediction_id.hex()):
        return log.count(rows, "")
    kept = _prepared(live, call, scored)
    if kept.inputs is not None:
        raws = call.tensors.raws  # type: ignore[attr-defined]  # only tensors of a form have places
        columns = [raws[place] for place in kept.inputs]
    else:
        columns = _columns(version, call, rows) if outputs else []
    columns += [outputs[place].raw for place in kept.outputs]
    event_time_us, future = call.event_time()
    entities, by_row = (call.entity.encode(), False) if kept.plain_entity else _entities(live, version, call, rows)
    took_us = spent_ns // 1000
    entry = Rows(
        log.number(kept.group),
        rows,
        event_time_us,
        call.arrival_us,
        took_us if took_us < 0xFFFFFFFF else 0xFFFFFFFF,
        future,
        call.prediction_id,
        call.request_id.encode(),
        call.traceparent.encode(),
        entities,
        by_row,
        columns,
    )
    log.append(kept.group, entry)


def _prepared(live: LiveModel, call: Call, scored: Scored) -> _Kept:
    """Found once for all calls of a form whose outputs have the same shapes."""
    if call.form is None:
        return _kept(live, call, scored)
    version, role, variant, _, outputs, _ = scored
    key = (version.planned.number, role, variant, call.form, *[output.shape for output in outputs])
    found: _Kept | None = live.prepared.get(key)
    if found is None:
        if len(live.prepared) >= MOST_FITS:
            live.prepared.clear()
        found = live.prepared[key] = _kept(live, call, scored)
    return found


def _kept(live: LiveModel, call: Call, scored: Scored) -> _Kept:
    version, rows = scored.version, scored.rows
    batched = version.signature.batched
    # What a version could not score may not even fit its inputs; the answer's row holds what was asked.
    shapes = _row_shapes(version, call) if scored.outputs else ()
    kept = [
        place for place, output in enumerate(scored.outputs) if not batched or output.shape[:1] == (rows,) or rows == 1
    ]
    specs = tuple(_output_column(scored.outputs[place], batched, rows) for place in kept)
    group = version.group(live.plan, scored.role, scored.variant, shapes, specs)
    name = live.plan.spec.entity_input
    plain_entity = name not in call.tensors and version.keeping.of(name, "BYTES") is Sensitivity.PLAIN
    return _Kept(group, _as_they_came(version, call, rows) if scored.outputs else None, kept, plain_entity)


def _as_they_came(version: LoadedVersion, call: Call, rows: int) -> Sequence[int] | None:
    """The places of the columns, where all are kept as they are."""
    tensors, batched = call.tensors, version.signature.batched
    if not isinstance(tensors, Columns):
        return None
    places = []
    for spec in version.signature.inputs:
        sensitivity = version.keeping.of(spec.name, spec.datatype)
        if sensitivity is Sensitivity.DROP:
            continue
        if sensitivity is not Sensitivity.PLAIN or (batched and not spec.batched and rows > 1):
            return None
        places.append(tensors.form.places[spec.name])
    return places


def _row_shapes(version: LoadedVersion, call: Call) -> tuple[tuple[int, ...], ...]:
    """The shape of one row of every input."""
    return tuple(_row_shape(version, spec, call) for spec in version.signature.inputs)


def _row_shape(version: LoadedVersion, spec: TensorSpec, call: Call) -> tuple[int, ...]:
    shape = call.tensors[spec.name].shape
    return shape[1:] if version.signature.batched and spec.batched else shape


def _columns(version: LoadedVersion, call: Call, rows: int) -> list[bytes]:
    """The columns that may be kept."""
    keeping, batched = version.keeping, version.signature.batched
    columns = []
    for spec in version.signature.inputs:
        if keeping.of(spec.name, spec.datatype) is not Sensitivity.DROP:
            tensor, shape = call.tensors[spec.name], _row_shape(version, spec, call)
            columns.append(_per_row(keeping.values(spec, shape, tensor.values, tensor.raw, rows), spec, batched, rows))
    return columns


def _entities(live: LiveModel, version: LoadedVersion, call: Call, rows: int) -> tuple[bytes, bool]:
    """The entities to log: a column of the input that the spec names, else the request's."""
    name = live.plan.spec.entity_input
    tensor = call.tensors.get(name) if name else None
    keeping = version.keeping
    if tensor is None or tensor.values.size != rows:
        return keeping.entity(name, call.entity.encode()), False
    values = tensor.values.ravel().tolist()
    short = tensor.datatype == "BYTES" and 4 * max(map(len, values)) <= NAME_BYTES
    if short and keeping.of(name, "BYTES") is Sensitivity.PLAIN:
        return tensor.raw, True
    texts = [keeping.entity(name, _named(str(value).encode())) for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts), True


def _named(entity: bytes) -> bytes:
    """What is too long for a name names nobody; the input itself is kept."""
    return entity if len(entity) <= NAME_BYTES else b""


def _per_row(column: bytes, spec: TensorSpec, batched: bool, rows: int) -> bytes:
    """An input without a batch dimension beside others that have one counts for every row."""
    return column * rows if batched and not spec.batched and rows > 1 else column


def _output_column(output: Output, batched: bool, rows: int) -> ColumnSpec:
    per_row = batched and output.shape[:1] == (rows,)
    return ColumnSpec(output.name, output.datatype, output.shape[1:] if per_row else output.shape)
