"""Datasets and snapshots: imported, read at a version, joined with the archive; on a folder and on S3."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from gyrostat_common.errors import Unavailable
from gyrostat_monitor.events import decoding
from gyrostat_monitor.store.archive import Archive
from gyrostat_trainer.domain.errors import TooFewRows
from gyrostat_trainer.engine import rows
from gyrostat_trainer.engine.datasets import Datasets, digest
from support.archive_writer import BEGIN_US, ROWS, frame
from support.frames import an_outcome, prediction_id
from support.monitor import received
from support.objects import Bucket, Place
from support.trainer import labelled_rows


def a_file(folder: Path, table: pa.Table) -> Path:
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def wanted(place: Place, dataset: str = "") -> rows.Wanted:
    return rows.Wanted(
        predictions_uri=rows.table_at(f"{place.uri}/archive", "predictions", "flights"),
        outcomes_uri=rows.table_at(f"{place.uri}/archive", "outcomes", "flights"),
        dataset_uri=dataset,
        environment="production",
        until_us=None,
        horizon_s=86_400,
    )


def test_an_import_is_a_version_and_its_repeat_is_none(place: Place, tmp_path: Path) -> None:
    datasets = Datasets(f"{place.uri}/datasets")
    file = a_file(tmp_path, labelled_rows(2, per_day=50))
    assert datasets.write("history", file, digest(file), append=False, request_id="one") == (0, 100)
    assert datasets.write("history", file, digest(file), append=True, request_id="two") == (1, 200)
    assert datasets.write("history", file, digest(file), append=True, request_id="two") == (1, 200)
    first = DeltaTable(datasets.uri("history"), version=0)
    assert first.to_pyarrow_dataset().count_rows() == 100
    found = rows.find(wanted(place, datasets.uri("history")))
    assert found.rows.num_rows == 200
    assert found.tables == {datasets.uri("history"): 1}
    assert found.inputs == ("carrier", "hour", "wind")
    assert rows.find(wanted(place, datasets.uri("history"))).sha256 == found.sha256


async def test_what_the_monitor_archived_the_trainer_reads(place: Place) -> None:
    archive = Archive(f"{place.uri}/archive")
    await archive.add_frames("flights", [frame(1), frame(2)])
    known = [prediction_id(1000 + i) for i in range(ROWS)]
    outcomes = [
        decoding.outcome(received(an_outcome(one, 1, BEGIN_US + 120_000_000), f"e{i}", i))
        for i, one in enumerate(known)
    ]
    await archive.add_outcomes("flights", outcomes)
    found = rows.find(wanted(place))
    assert (found.answers, found.labelled, found.rows.num_rows) == (2 * ROWS, ROWS, ROWS)
    assert found.inputs == ("carrier", "temp")
    assert found.frames == {"s/flights/0": 2}
    assert sorted(found.tables.values()) == [1, 1]


def test_no_table_yet_is_no_failure_of_the_store(place: Place) -> None:
    with pytest.raises(TooFewRows, match="neither the archive nor a dataset has rows"):
        rows.find(wanted(place, f"{place.uri}/datasets/history"))


def test_an_import_that_cannot_be_written_says_why(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_file(tmp_path, labelled_rows(1, per_day=5))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-it")
    with pytest.raises(Unavailable, match="refuses our credentials"):
        Datasets(bucket.uri("datasets")).write("history", file, "", append=False, request_id="one")
