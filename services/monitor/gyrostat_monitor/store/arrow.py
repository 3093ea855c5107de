"""Frames and outcomes as Arrow tables: the columns of the archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gyrostat_monitor.domain.columns import ColumnValues
from gyrostat_monitor.domain.frames import Frame, row_id
from gyrostat_monitor.domain.outcomes import Outcome

TIME = pa.timestamp("us", tz="UTC")
DAY_US = 86_400_000_000
# Delta has signed integers only, and no half floats.
_TYPES = {
    "BOOL": pa.bool_(), "UINT8": pa.int16(), "UINT16": pa.int32(), "UINT32": pa.int64(), "UINT64": pa.decimal128(20, 0),
    "INT8": pa.int8(), "INT16": pa.int16(), "INT32": pa.int32(), "INT64": pa.int64(), "FP16": pa.float32(),
    "BF16": pa.float32(), "FP32": pa.float32(), "FP64": pa.float64(), "BYTES": pa.string(),
}  # fmt: skip


def prediction_table(frames: Sequence[Frame], schema: pa.Schema | None) -> pa.Table:
    """One row per prediction, version and role."""
    tables = [_frame(frame, schema) for frame in frames]
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")


def _frame(frame: Frame, schema: pa.Schema | None) -> pa.Table:
    n = frame.rows
    numbers = frame.row_numbers.tolist()
    columns: dict[str, Any] = {
        "prediction_id": pa.array([row_id(i, r) for i, r in zip(frame.ids, numbers, strict=True)], pa.string()),
        "version": _same(frame.version, n, pa.int64()),
        "role": _same(frame.role, n),
        "variant": _same(frame.variant, n),
        "environment": _same(frame.environment, n),
        "plan_revision": _same(frame.plan_revision, n, pa.int64()),
        "rollout_id": _same(frame.rollout_id, n),
        "request_id": pa.array(frame.request_ids, pa.string()) if frame.request_ids else pa.nulls(n, pa.string()),
        "entity": pa.array(frame.entities, pa.string()) if frame.entities else pa.nulls(n, pa.string()),
        "event_time": pa.array(frame.event_us, pa.int64()).cast(TIME),
        "arrival_time": pa.array(frame.arrival_us, pa.int64()).cast(TIME),
        "latency_us": pa.array(frame.latency_us, pa.int64()),
        "future_event_time": pa.array(frame.future),
        "stream": _same(frame.stream, n),
        "frame_no": _same(frame.frame_no, n, pa.int64()),
        "event_date": pa.array((frame.event_us // DAY_US).astype(np.int32), pa.int32()).cast(pa.date32()),
        "traceparent": pa.array([frame.traces.get(i) for i in range(n)], pa.string())
        if frame.traces
        else pa.nulls(n, pa.string()),
    }
    for prefix, tensors in (("in_", frame.inputs), ("out_", frame.outputs)):
        for tensor in tensors:
            name, values = _tensor(prefix + tensor.name, tensor, n, schema)
            columns[name] = values
    return pa.table(columns)


def _same(value: Any, n: int, kind: pa.DataType | None = None) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind or pa.string()), n)


def _tensor(name: str, tensor: ColumnValues, n: int, schema: pa.Schema | None) -> tuple[str, pa.Array]:
    """The column's name and values. Another type than the table has is cast; where that fails the type joins the
    name.
    """
    values = _flat(tensor)
    if tensor.items != 1:
        offsets = np.arange(0, (n + 1) * tensor.items, max(tensor.items, 1), dtype=np.int32)
        if tensor.items == 0:
            offsets = np.zeros(n + 1, np.int32)
        mask = None if tensor.present is None else pa.array(~tensor.present)
        values = pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)
    index = -1 if schema is None else schema.get_field_index(name)
    if schema is None or index < 0 or schema.field(index).type == values.type:
        return name, values
    try:
        return name, values.cast(schema.field(index).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return f"{name}__{tensor.datatype.lower()}{'_list' if tensor.items != 1 else ''}", values


def _flat(tensor: ColumnValues) -> pa.Array:
    kind = _TYPES[tensor.datatype]
    mask = None
    if tensor.present is not None and tensor.items == 1:
        mask = ~tensor.present
    if isinstance(tensor.values, list):
        texts = [v.decode("utf-8", "backslashreplace") for v in tensor.values]
        return pa.array(texts, kind, mask=mask)
    if tensor.datatype == "BOOL":
        return pa.array(tensor.values.astype(bool), mask=mask)
    if tensor.datatype == "UINT64":
        return pa.array([int(v) for v in tensor.values], kind, mask=mask)
    if tensor.datatype == "FP16":
        return pa.array(tensor.values.astype(np.float32), mask=mask)
    return pa.array(tensor.values, mask=mask).cast(kind)


def outcome_table(outcomes: Sequence[Outcome], _: pa.Schema | None) -> pa.Table:
    """One row per outcome event; one more when a name was resolved later."""

    def times(values: list[int]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(TIME)

    known = [o.ref.prediction for o in outcomes]
    return pa.table(
        {
            "prediction_id": pa.array([row_id(*k) if k else None for k in known], pa.string()),
            "ref": pa.array([o.ref.text for o in outcomes]),
            "value": pa.array([o.value for o in outcomes], pa.float64()),
            "observed_at": times([o.observed_us for o in outcomes]),
            "recorded_at": times([o.recorded_us for o in outcomes]),
            "ingested_at": times([o.ingested_us for o in outcomes]),
            "source": pa.array([o.source for o in outcomes]),
            "event_id": pa.array([o.event_id for o in outcomes]),
            "weight": pa.array([o.weight for o in outcomes], pa.float64()),
            "event_date": pa.array([o.observed_us // DAY_US for o in outcomes], pa.int32()).cast(pa.date32()),
        }
    )
