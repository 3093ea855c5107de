"""What a training run spends: the snapshot and the fit of the built-in pipeline; figures of docs/trainer.md and
docs/pipelines.md.

`.venv/bin/python tests/bench/bench_training.py [--runs 3] [--cpus 1]`. CPU seconds. Rows: the flights of January and
February for the fit, the whole year for the snapshot. The peer of the fit is LightGBM alone on the same matrix, that of
the snapshot reading the Parquet files alone. Asserts nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from flights.policy import PARAMETERS
from flights.year import load
from gyrostat_trainer.engine import rows
from gyrostat_trainer.pipelines import encoding, tabular
from gyrostat_trainer.pipelines.door import Door
from support.measuring import arguments, begin, each, repeated


def cpu_s(work: Callable[[], object]) -> Callable[[], float]:
    """CPU seconds of one call."""
    microseconds = each(1, work)
    return lambda: microseconds() / 1e6


def fits(table: pa.Table, folder: Path, runs: int) -> None:
    """The pipeline with all it does around the fit: read, encode, export, write."""
    pq.write_table(table, folder / "dataset.parquet")
    door = Door(folder / "dataset.parquet", folder, dict(PARAMETERS))
    names = [name for name in table.column_names if name not in ("label", "event_time")]
    labels = table.column("label").to_numpy()
    matrix = encoding.matrix(table, encoding.learn(table, names, labels, 20))
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "force_row_wise": True, "max_bin": 127}
    rounds = tabular.Parameters.model_validate(PARAMETERS).num_boost_round

    def alone() -> None:
        lgb.train(settings, lgb.Dataset(matrix, labels, params={"verbosity": -1}), num_boost_round=rounds)

    peer = repeated(f"LightGBM alone, {table.num_rows:,} rows", "s CPU", runs, cpu_s(alone))
    print(peer.line())
    print(repeated("the tabular pipeline", "s CPU", runs, cpu_s(lambda: tabular.train(door))).line(peer))


def snapshots(table: pa.Table, folder: Path, runs: int) -> None:
    """Reading, joining, ordering and hashing."""
    uri = str(folder / "dataset")
    write_deltalake(uri, table)
    wanted = rows.Wanted("", "", uri, "production", None, 86_400)
    peer = repeated(
        f"reading {table.num_rows:,} rows", "s CPU", runs, cpu_s(lambda: DeltaTable(uri).to_pyarrow_table())
    )
    print(peer.line())
    print(repeated("a snapshot of them", "s CPU", runs, cpu_s(lambda: rows.find(wanted))).line(peer))


def main() -> None:
    """Print the figures."""
    os.environ["OMP_NUM_THREADS"] = "1"
    given = arguments(__doc__, runs=3).parse_args()
    begin("A training run", given.cpus)
    year = load().labelled()
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as folder:
        fits(year.months(1, 2).table(), Path(folder), given.runs)
        snapshots(year.table(), Path(folder), given.runs)


if __name__ == "__main__":
    main()
