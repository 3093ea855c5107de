"""The archive: predictions and outcomes of every model in Delta tables, each row exactly once.

The number of the last frame of a stream (or the last offset of a partition) is recorded in the same commit as the
rows, as an app transaction; what is at or below it is skipped. So a resend at a new offset, a restart, and a commit
whose reply was lost change nothing: the table itself knows. Anyone may read the tables; only the monitor writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

import obstore
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from obstore.exceptions import BaseError

from gyrostat_common import storage, telemetry
from gyrostat_common.errors import Unavailable
from gyrostat_common.times import from_us
from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.domain.outcomes import Outcome
from gyrostat_monitor.store.arrow import outcome_table, prediction_table

PREDICTIONS, OUTCOMES = "predictions", "outcomes"
TRIES = 5
CONFIGURATION = {"delta.checkpointInterval": "50", "delta.logRetentionDuration": "interval 7 days"}
log = telemetry.get_logger("monitor.archive")


@dataclass(frozen=True)
class Appended:
    """What one append did."""

    rows: int
    skipped: int
    """Frames or outcomes that were there already."""
    version: int
    """Delta version after it."""


class Archive:
    """One writer per archive. Blocking work runs in threads, one table at a time each."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._tables: dict[str, DeltaTable] = {}
        self._last: dict[str, dict[str, int]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def table_uri(self, kind: str, model: str) -> str:
        """Where a model's table lies."""
        uri = f"{self.uri}/{kind}/{quote(model, safe='')}"
        return urlparse(uri).path if uri.startswith("file://") else uri

    async def add_frames(self, model: str, frames: Sequence[Frame]) -> Appended:
        """Appends frames of one model, those not yet there, in one commit."""
        units = [(f.stream, f.frame_no, f) for f in sorted(frames, key=lambda f: (f.stream, f.frame_no))]
        return await self._append(PREDICTIONS, model, units, prediction_table)

    async def add_outcomes(self, model: str, outcomes: Sequence[Outcome]) -> Appended:
        """Appends outcome events of one model, those not yet there, in one commit."""
        ordered = sorted(outcomes, key=lambda o: (o.topic_partition, o.offset))
        # Offsets begin at 0, a version of an app transaction at 1.
        return await self._append(
            OUTCOMES, model, [(o.topic_partition, o.offset + 1, o) for o in ordered], outcome_table
        )

    async def add_resolved(self, model: str, outcomes: Sequence[tuple[int, Outcome]]) -> Appended:
        """Appends outcomes that were named otherwise, now with the id of their prediction."""
        return await self._append(OUTCOMES, model, [("resolved", number, o) for number, o in outcomes], outcome_table)

    async def last(self, kind: str, model: str, app_id: str) -> int:
        """Number of the last unit of that app id in the table; 0 before the first."""
        async with self._lock(self.table_uri(kind, model)):
            with _in_our_words(self.uri):
                return await asyncio.to_thread(self._last_number, self.table_uri(kind, model), app_id)

    def _lock(self, uri: str) -> asyncio.Lock:
        return self._locks.setdefault(uri, asyncio.Lock())

    async def _append(self, kind: str, model: str, units: Sequence[tuple[str, int, Any]], build: Any) -> Appended:
        uri = self.table_uri(kind, model)
        async with self._lock(uri):
            try:
                with _in_our_words(self.uri):
                    return await asyncio.to_thread(self._append_now, uri, units, build)
            except Unavailable:  # perhaps it was written all the same: what is there is read again
                self._forget(uri)
                raise

    def _append_now(self, uri: str, units: Sequence[tuple[str, int, Any]], build: Any) -> Appended:
        for attempt in range(TRIES):
            new, marks = self._new(uri, units)
            skipped = len(units) - len(new)
            if not new:
                return Appended(0, skipped, self._version(uri))
            table = build(new, self._schema(uri))
            if self._open(uri) is None:
                self._create(uri, table.schema)
                continue
            try:
                version = self._commit(uri, table, marks)
            except CommitFailedError:
                if attempt == TRIES - 1:
                    raise
                # Another writer was faster: read again what is there and build the commit anew.
                self._forget(uri)
                continue
            self._last.setdefault(uri, {}).update(marks)
            return Appended(table.num_rows, skipped, version)
        raise AssertionError

    def _new(self, uri: str, units: Sequence[tuple[str, int, Any]]) -> tuple[list[Any], dict[str, int]]:
        new: list[Any] = []
        marks: dict[str, int] = {}
        for app_id, number, unit in units:
            if number > marks.get(app_id, self._last_number(uri, app_id)):
                marks[app_id] = number
                new.append(unit)
        return new, marks

    def _create(self, uri: str, schema: pa.Schema) -> None:
        """An empty table, before anything is written: of two first commits of rows neither would see the other, and
        both would stay.
        """
        DeltaTable.create(
            uri, schema=schema, mode="ignore", partition_by=["event_date"], configuration=CONFIGURATION,
            storage_options=storage.delta_options(uri),
        )  # fmt: skip
        self._forget(uri)  # another writer may have been faster, with rows

    def _commit(self, uri: str, table: pa.Table, marks: Mapping[str, int]) -> int:
        known = self._open(uri)
        assert known is not None
        properties = CommitProperties(app_transactions=[Transaction(a, n) for a, n in sorted(marks.items())])
        write_deltalake(known, table, mode="append", schema_mode="merge", commit_properties=properties)
        return int(known.version())

    def _open(self, uri: str) -> DeltaTable | None:
        if uri not in self._tables:
            if "://" not in uri:
                Path(uri).mkdir(parents=True, exist_ok=True)
            try:
                self._tables[uri] = DeltaTable(uri, storage_options=storage.delta_options(uri))
            except TableNotFoundError:
                return None
        return self._tables[uri]

    def _forget(self, uri: str) -> None:
        self._tables.pop(uri, None)
        self._last.pop(uri, None)

    def _last_number(self, uri: str, app_id: str) -> int:
        known = self._last.setdefault(uri, {})
        if app_id not in known:
            table = self._open(uri)
            number = table.transaction_version(app_id) if table is not None else None
            known[app_id] = int(number or 0)
        return known[app_id]

    def _version(self, uri: str) -> int:
        table = self._open(uri)
        return -1 if table is None else int(table.version())

    def _schema(self, uri: str) -> pa.Schema | None:
        table = self._open(uri)
        return None if table is None else pa.schema(table.schema().to_arrow())

    # Reading

    async def models(self, kind: str) -> list[str]:
        """Models with a table of that kind."""
        with _in_our_words(self.uri):
            return await asyncio.to_thread(self._models, kind)

    def _models(self, kind: str) -> list[str]:
        if not storage.is_local(self.uri):
            found = obstore.list_with_delimiter(storage.opened(self.uri), kind)["common_prefixes"]
            return sorted(unquote(prefix.rpartition("/")[2]) for prefix in found)
        folder = Path(urlparse(self.uri).path) / kind
        return sorted(unquote(p.name) for p in folder.iterdir()) if folder.is_dir() else []

    async def rows(
        self, kind: str, model: str, prediction_id: str, event_us: int | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a prediction, by the tables' statistics: few files are opened. `event_us` narrows it to one day."""
        with _in_our_words(self.uri):
            return await asyncio.to_thread(self._rows, self.table_uri(kind, model), prediction_id, event_us)

    def _rows(self, uri: str, prediction_id: str, event_us: int | None) -> list[dict[str, Any]]:
        try:
            table = DeltaTable(uri, storage_options=storage.delta_options(uri))
        except TableNotFoundError:
            return []
        where = pc.field("prediction_id") == prediction_id
        if event_us is not None:
            day = from_us(event_us).date()
            where = where & (pc.field("event_date") >= day) & (pc.field("event_date") <= day + timedelta(days=1))
        found: list[dict[str, Any]] = []
        dataset = table.to_pyarrow_dataset()
        for fragment in dataset.get_fragments(filter=where):
            rows = fragment.to_table(filter=where, schema=dataset.schema).to_pylist()
            if rows:
                version = _commit_of(uri, Path(fragment.path).name, int(table.version()))
                found.extend({**row, "delta_version": version} for row in rows)
        return found


@contextmanager
def _in_our_words(uri: str) -> Iterator[None]:
    try:
        yield
    except (DeltaError, BaseError, OSError) as error:
        raise storage.explained(error, uri) from error


def _commit_of(uri: str, file: str, latest: int) -> int:
    """Delta version of the commit that added a file, by a local table's log; else the table's present version."""
    for commit in sorted(Path(uri).glob("_delta_log/*.json"), reverse=True) if "://" not in uri else ():
        if file in commit.read_text(encoding="utf-8"):
            return int(commit.stem)
    return latest
