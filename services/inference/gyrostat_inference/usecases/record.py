"""What is kept of an answer: its rows, as sensitivity allows, with their times and entities, put into a spool.

Called by `predict` for answers and shadows alike, after the run and before the reply. Next: the shipper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import NAME_BYTES, Call, Output
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows
from gyrostat_inference.domain.live import LiveModel, LoadedVersion
from gyrostat_inference.domain.plan import Sensitivity, TensorSpec


class AnswerLog(Protocol):
    """A spool, as those who write to it see it."""

    @property
    def full(self) -> bool: ...
    def number(self, group: Group) -> int: ...
    def append(self, group: Group, rows: Rows) -> None: ...
    def count(self, rows: int, reason: str) -> None: ...
    async def flush(self) -> None: ...
    async def until_room(self) -> None:
        """Returns when there is room again."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """What one version made of one call. `role` is ANSWER or SHADOW; the outputs are in the order of the signature,
    none when the version could not score the rows.
    """

    version: LoadedVersion
    role: int
    variant: str
    rows: int
    outputs: Sequence[Output]
    spent_ns: int


def record(log: AnswerLog, live: LiveModel, call: Call, scored: Scored) -> None:
    """Puts the rows into the spool, or counts them as sampled out: for a prediction always both roles alike."""
    plan, version, rows = live.plan, scored.version, scored.rows
    if not routing.sampled(plan.spec.log_sample_rate, "log", call.prediction_id.hex()):
        return log.count(rows, "")
    batched = version.signature.batched
    # What a version could not score may not even fit its inputs; the answer's row holds what was asked.
    columns, shapes = _kept_inputs(version, call, rows) if scored.outputs else ([], ())
    kept = [output for output in scored.outputs if not batched or output.values.shape[:1] == (rows,) or rows == 1]
    specs = tuple(_output_column(output, batched, rows) for output in kept)
    group = version.group(plan, scored.role, scored.variant, shapes, specs)
    event_time_us, future = call.event_time()
    entities, by_row = _entities(live, version, call, rows)
    entry = Rows(
        log.number(group),
        rows,
        event_time_us,
        call.arrival_us,
        min(scored.spent_ns // 1000, 0xFFFFFFFF),
        future,
        call.prediction_id,
        call.request_id.encode(),
        call.traceparent.encode(),
        entities,
        by_row,
        [*columns, *(output.raw for output in kept)],
    )
    log.append(group, entry)


def _kept_inputs(version: LoadedVersion, call: Call, rows: int) -> tuple[list[bytes], tuple[tuple[int, ...], ...]]:
    """The columns that may be kept, and the shape of one row of every input."""
    keeping, batched = version.keeping, version.signature.batched
    columns, shapes = [], []
    for spec in version.signature.inputs:
        tensor = call.tensors[spec.name]
        shape = tensor.values.shape[1:] if batched and spec.batched else tensor.values.shape
        shapes.append(shape)
        if keeping.of(spec.name, spec.datatype) is not Sensitivity.DROP:
            columns.append(_per_row(keeping.values(spec, shape, tensor.values, tensor.raw, rows), spec, batched, rows))
    return columns, tuple(shapes)


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
    per_row = batched and output.values.shape[:1] == (rows,)
    return ColumnSpec(output.name, output.datatype, output.values.shape[1:] if per_row else output.values.shape)
