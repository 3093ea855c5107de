"""Labelled rows from the archive and from imported datasets: read, joined, ordered and hashed canonically."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from numpy.typing import NDArray

from gyrostat_common import storage
from gyrostat_trainer.domain.episodes import Range
from gyrostat_trainer.domain.errors import NothingToLearnFrom, TooFewRows

RESERVED = ("label", "event_time", "weight", "entity")
KEY = "prediction_id"
BATCH_ROWS = 65_536
INSTANT = pa.timestamp("us", "UTC")
# A missing value is written as it reaches a served graph, which knows no nulls.
_MISSING = {pa.float32(): float("nan"), pa.string(): ""}


@dataclass(frozen=True)
class Wanted:
    """Which rows: tables (empty: none), environment, the event time they end before, ranges left out.

    `private` names inputs that the archive does not hold as they were asked (hashed, bucketed, dropped). What is
    learned from a digest is never asked again, and the champion cannot be scored on it: the archive's rows stay out.
    """

    predictions_uri: str
    outcomes_uri: str
    dataset_uri: str
    environment: str
    until_us: int | None
    horizon_s: int
    excluded: tuple[Range, ...] = ()
    private: tuple[str, ...] = ()

    @property
    def left_out(self) -> str:
        """Why the archive's rows stay out; empty when they are used."""
        names = ", ".join(self.private)
        return f"the archive does not keep {names} as asked (sensitivity of the ModelSpec)" if names else ""


@dataclass(frozen=True)
class Found:
    """The rows in canonical order and where they came from."""

    rows: pa.Table
    inputs: tuple[str, ...]
    tables: dict[str, int]
    frames: dict[str, int]
    filter: str
    sha256: str
    answers: int
    labelled: int

    @property
    def times_us(self) -> NDArray[np.int64]:
        return times_us(self.rows)


def times_us(table: pa.Table) -> NDArray[np.int64]:
    """[n] event times of a table in microseconds."""
    return np.asarray(table.column("event_time").cast(pa.int64()).to_numpy(), dtype=np.int64)


def table_at(root: str, *parts: str) -> str:
    """Address of a table below a root; a local folder (plain or file://) becomes a path."""
    local = root.removeprefix("file://")
    return "/".join([local.rstrip("/"), *parts])


def open_table(uri: str) -> DeltaTable | None:
    """A Delta table, None when there is none yet. Raises Unavailable when its store cannot be asked."""
    try:
        return DeltaTable(uri, storage_options=storage.delta_options(uri)) if uri else None
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as exc:
        raise storage.explained(exc, uri) from exc


def find(wanted: Wanted) -> Found:
    """Reads and joins. TooFewRows when there is not one; NothingToLearnFrom when only the archive has any, and it may
    not be learned from.
    """
    archive = not wanted.private
    tables = _tables(wanted)
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            db.register(name, table.to_pyarrow_dataset())
        types = _types(tables)
        if not types:
            raise TooFewRows("neither the archive nor a dataset has rows of this model")
        where = _where(wanted)
        rows, frames, answers = _joined(db, tables, types, where, wanted)
    if rows.num_rows == 0:
        raise TooFewRows(f"no labelled row where {where}")
    uris = {"predictions": wanted.predictions_uri, "outcomes": wanted.outcomes_uri, "dataset": wanted.dataset_uri}
    return Found(
        rows=rows,
        inputs=tuple(sorted(types)),
        tables={uris[name]: table.version() for name, table in tables.items()},
        frames=frames,
        filter=f"role = 'answer' and environment = '{wanted.environment}' and {where}"
        if archive
        else f"{where} ({wanted.left_out})",
        sha256=canonical_sha256(rows),
        answers=answers,
        labelled=_from_archive(rows),
    )


def _tables(wanted: Wanted) -> dict[str, DeltaTable]:
    if wanted.private and not wanted.dataset_uri:
        remedy = f"name a dataset that has {', '.join(wanted.private)} in retrain.dataset, or make it plain"
        raise NothingToLearnFrom(f"{wanted.left_out}: {remedy}")
    archive = {"predictions": wanted.predictions_uri, "outcomes": wanted.outcomes_uri} if not wanted.private else {}
    uris = {**archive, "dataset": wanted.dataset_uri}
    return {name: table for name, uri in uris.items() if (table := open_table(uri)) is not None}


def _from_archive(rows: pa.Table) -> int:
    return int(pc.sum(pc.not_equal(rows.column(KEY), "")).as_py() or 0)


def _types(tables: dict[str, DeltaTable]) -> dict[str, str]:
    """Input name → SQL type. The dataset says what the inputs are; without one, the archive."""
    source = tables.get("dataset")
    if source is not None:
        fields = {f.name: f.type for f in _schema(source) if f.name not in RESERVED}
    elif "predictions" in tables and "outcomes" in tables:
        fields = {f.name[3:]: f.type for f in _schema(tables["predictions"]) if f.name.startswith("in_")}
    else:
        fields = {}
    return {name: kind for name, t in fields.items() if (kind := _sql_type(t)) is not None}


def _schema(table: DeltaTable) -> Any:
    return pa.schema(table.schema().to_arrow())


_NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)


def _sql_type(kind: pa.DataType) -> str | None:
    if any(is_kind(kind) for is_kind in _NUMERIC):
        return "FLOAT"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return "VARCHAR" if text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _where(wanted: Wanted) -> str:
    parts = ["event_time IS NOT NULL"]
    if wanted.until_us is not None:
        parts.append(f"event_time < {_instant(wanted.until_us)}")
    for gap in wanted.excluded:
        end = f" AND event_time < {_instant(gap.end_us)}" if gap.end_us is not None else ""
        parts.append(f"NOT (event_time >= {_instant(gap.start_us)}{end})")
    return " AND ".join(parts)


def _instant(us: int) -> str:
    return f"make_timestamptz({us})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _joined(
    db: duckdb.DuckDBPyConnection, tables: dict[str, DeltaTable], types: dict[str, str], where: str, wanted: Wanted
) -> tuple[pa.Table, dict[str, int], int]:
    sources, frames, answers = [], {}, 0
    if "predictions" in tables and "outcomes" in tables:
        present = {f.name: f.type for f in _schema(tables["predictions"])}
        db.execute(_answers_sql(types, present, where, wanted))
        counted = db.execute("SELECT count(*) FROM answers").fetchone()
        answers = int(counted[0]) if counted else 0
        frames = dict(
            db.execute("SELECT stream, max(frame_no) FROM answers GROUP BY stream ORDER BY stream").fetchall()
        )
        sources.append(_labelled_sql(types, wanted))
    if "dataset" in tables:
        present = {f.name: f.type for f in _schema(tables["dataset"])}
        sources.append(_dataset_sql(types, present, where))
    order = ", ".join(["event_time", KEY, "label", *(_quoted(name) for name in sorted(types))])
    found = db.sql(f"SELECT * FROM ({' UNION ALL BY NAME '.join(sources)}) ORDER BY {order}").to_arrow_table()
    return _canonical(found, types), {str(k): int(v) for k, v in frames.items()}, answers


def _answers_sql(types: dict[str, str], present: dict[str, pa.DataType], where: str, wanted: Wanted) -> str:
    """One row per prediction id: of the answers to one that was asked again the first, as the monitor counts it."""
    columns = ", ".join(f"{_cast(f'in_{name}', kind, present)} AS {_quoted(name)}" for name, kind in types.items())
    environment = wanted.environment.replace("'", "''")
    return f"""CREATE TEMP TABLE answers AS
        SELECT prediction_id, event_time, stream, frame_no, {columns} FROM predictions
        WHERE role = 'answer' AND environment = '{environment}' AND {where}
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id ORDER BY variant = 'pinned', arrival_time, stream, frame_no) = 1"""


def _cast(column: str, kind: str, present: dict[str, pa.DataType]) -> str:
    if column not in present:
        return f"CAST(NULL AS {kind})"
    if kind == "VARCHAR" and (pa.types.is_binary(present[column]) or pa.types.is_large_binary(present[column])):
        return f"decode({_quoted(column)})"
    return f"TRY_CAST({_quoted(column)} AS {kind})"


def _labelled_sql(types: dict[str, str], wanted: Wanted) -> str:
    """The answers with the outcome that won: highest (recorded_at, event id), never the last to arrive."""
    columns = ", ".join(f"a.{_quoted(name)}" for name in types)
    return f"""SELECT a.prediction_id, a.event_time, w.outcome.value AS label, w.outcome.weight AS weight, {columns}
        FROM answers a JOIN (
            SELECT prediction_id, max_by({{'value': value, 'weight': weight, 'observed_at': observed_at}},
                   {{'a': recorded_at, 'b': event_id}}) AS outcome
            FROM outcomes WHERE prediction_id IS NOT NULL AND value IS NOT NULL GROUP BY prediction_id
        ) w USING (prediction_id)
        WHERE w.outcome.observed_at IS NULL
           OR w.outcome.observed_at <= a.event_time + INTERVAL {int(wanted.horizon_s)} SECOND"""


def _dataset_sql(types: dict[str, str], present: dict[str, pa.DataType], where: str) -> str:
    columns = ", ".join(f"{_cast(name, kind, present)} AS {_quoted(name)}" for name, kind in types.items())
    weight = "CAST(weight AS DOUBLE)" if "weight" in present else "NULL::DOUBLE"
    return f"""SELECT '' AS prediction_id, event_time, CAST(label AS DOUBLE) AS label, {weight} AS weight, {columns}
        FROM dataset WHERE label IS NOT NULL AND {where}"""


def _canonical(found: pa.Table, types: dict[str, str]) -> pa.Table:
    """Fixed columns first, inputs by name; fixed types; equal batches; no metadata: equal rows have equal bytes."""
    fields = [
        pa.field(KEY, pa.string()),
        pa.field("event_time", INSTANT),
        pa.field("label", pa.float64()),
        pa.field("weight", pa.float32()),
        *(pa.field(name, pa.float32() if types[name] == "FLOAT" else pa.string()) for name in sorted(types)),
    ]
    schema = pa.schema(fields)
    weights = found.column("weight")
    usable = np.nan_to_num(weights.to_numpy(zero_copy_only=False).astype(np.float64), nan=0.0)
    columns: list[Any] = []
    for field in schema:
        if field.name == "weight":
            columns.append(pa.array(np.where(usable > 0, usable, 1.0).astype(np.float32)))
        else:
            column = found.column(field.name).cast(field.type).combine_chunks()
            columns.append(pc.fill_null(column, _MISSING[field.type]) if field.name in types else column)
    return pa.table(columns, schema=schema)


class _Hash:
    """A file that only hashes."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, chunk: Any) -> int:
        self.digest.update(chunk)
        return len(chunk)

    def flush(self) -> None: ...

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def write_canonical(table: pa.Table, sink: Any) -> None:
    """The canonical Arrow IPC stream of rows."""
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)


def canonical_sha256(table: pa.Table) -> str:
    """SHA-256 of the canonical stream."""
    sink = _Hash()
    write_canonical(table, pa.PythonFile(sink, mode="w"))
    return sink.digest.hexdigest()


def read_canonical(path: Path) -> pa.Table:
    """The rows of a canonical stream."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


def text_columns(table: pa.Table, names: Sequence[str]) -> list[str]:
    """The inputs that hold categories."""
    return [name for name in names if pa.types.is_string(table.schema.field(name).type)]
