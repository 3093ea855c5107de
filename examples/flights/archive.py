"""The archive as anyone may read it: a Delta table of every answer of every version."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from flights.policy import MODEL
from flights.traffic import Traffic


@dataclass(frozen=True)
class Archived:
    """One element a row of the table; `row` is the flight's place in the traffic, -1 for one nobody asked about."""

    row: np.ndarray
    version: np.ndarray
    answer: np.ndarray
    score: np.ndarray

    def scores_of(self, version: int, rows: int) -> np.ndarray:
        """What one version said about each flight, as answer or shadow; NaN where it said nothing."""
        scores = np.full(rows, np.nan)
        chosen = (self.version == version) & (self.row >= 0)
        scores[self.row[chosen]] = self.score[chosen]
        return scores


def count(archive: Path) -> int:
    """Rows of the table, from its log alone."""
    try:
        table = DeltaTable(str(archive / "predictions" / MODEL))
    except TableNotFoundError:
        return 0
    return int(pc.sum(pa.table(table.get_add_actions(flatten=True)).column("num_records")).as_py() or 0)


def rows_between(copy: Path, start: datetime, end: datetime) -> int:
    """How many rows of a run's snapshot, an Arrow stream, have an event time from start to before end."""
    with pa.memory_map(str(copy)) as file:
        times = pa.ipc.open_stream(file).read_all().column("event_time").cast(pa.timestamp("us", "UTC"))
    inside = pc.and_(pc.greater_equal(times, pa.scalar(start)), pc.less(times, pa.scalar(end)))
    return int(pc.sum(inside).as_py() or 0)


def read(archive: Path, traffic: Traffic) -> Archived:
    """Reads the table of the model; an archive that was never written is an empty one."""
    try:
        table = DeltaTable(str(archive / "predictions" / MODEL)).to_pyarrow_table(
            columns=["prediction_id", "version", "role", "out_probabilities"]
        )
    except TableNotFoundError:
        empty = np.zeros(0, np.int64)
        return Archived(empty, empty, empty.astype(bool), empty.astype(float))
    first_of = {str(traffic.prediction_id(i)): int(traffic.starts[i]) for i in range(traffic.requests)}
    ids = table.column("prediction_id").to_pylist()
    rows = np.fromiter((_row(first_of, name) for name in ids), np.int64, len(ids))
    return Archived(
        rows,
        table.column("version").to_numpy(),
        pc.equal(table.column("role"), "answer").to_numpy(),
        pc.list_element(table.column("out_probabilities"), 1).to_numpy().astype(np.float64),
    )


def _row(first_of: dict[str, int], name: str) -> int:
    prediction, _, row = name.partition("/")
    first = first_of.get(prediction, -1)
    return first + int(row) if first >= 0 else -1
