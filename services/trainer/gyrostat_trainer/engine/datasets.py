"""Imported datasets: a Parquet file checked and written as the next version of a Delta table."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from gyrostat_common import storage
from gyrostat_trainer.domain.errors import DatasetInvalid
from gyrostat_trainer.engine.rows import INSTANT, open_table, table_at


class Datasets:
    """The tables below one address."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def uri(self, name: str) -> str:
        """Where a dataset's table lies, whether there is one or not."""
        return table_at(self._uri, name)

    def write(self, name: str, path: Path, sha256: str, append: bool, request_id: str) -> tuple[int, int]:
        """(Delta version, rows in the table). DatasetInvalid says what is wrong with the file, Unavailable with the
        store.

        The request id is kept in the table's own log, so that a repeat after a crash in between writes nothing twice.
        """
        if sha256 and digest(path) != sha256.lower():
            raise DatasetInvalid(f"the file received has SHA-256 {digest(path)}, announced was {sha256}")
        table = checked(path)
        uri = self.uri(name)
        if storage.is_local(uri):
            Path(uri).mkdir(parents=True, exist_ok=True)
        before = open_table(uri)
        if not (before and request_id and before.transaction_version(f"import {request_id}") is not None):
            done = [Transaction(f"import {request_id}", 1)] if request_id else None
            try:
                write_deltalake(
                    uri,
                    table,
                    mode="append" if append else "overwrite",
                    schema_mode="merge" if append else "overwrite",
                    commit_properties=CommitProperties(app_transactions=done),
                    storage_options=storage.delta_options(uri),
                )
            except (DeltaError, OSError) as exc:
                raise storage.explained(exc, uri) from exc
        written = open_table(uri)
        assert written is not None
        return written.version(), written.to_pyarrow_dataset().count_rows()


def checked(path: Path) -> pa.Table:
    """The file's rows with the columns a dataset needs; `event_time` in UTC microseconds, `label` a number."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as exc:
        raise DatasetInvalid(f"not a Parquet file: {str(exc)[:200]}") from exc
    for name in ("label", "event_time"):
        if name not in table.column_names:
            raise DatasetInvalid(f"the dataset has no column {name!r}; it has {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise DatasetInvalid("the dataset has no rows")
    try:
        table = _typed(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as exc:
        raise DatasetInvalid(f"label must be a number and event_time a time: {str(exc)[:200]}") from exc
    if table.column("event_time").null_count:
        raise DatasetInvalid("every row needs an event_time")
    labels = table.column("label").to_numpy(zero_copy_only=False)
    if np.isinf(labels).any():
        raise DatasetInvalid("a label is infinite")
    return table.replace_schema_metadata(None)


def _typed(table: pa.Table) -> pa.Table:
    times = table.column("event_time")
    instants = times.cast(INSTANT) if pa.types.is_timestamp(times.type) else times.cast(pa.int64()).cast(INSTANT)
    table = table.set_column(table.schema.get_field_index("event_time"), "event_time", instants)
    label = table.schema.get_field_index("label")
    table = table.set_column(label, "label", table.column("label").cast(pa.float64()))
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
