"""Inputs that the archive does not keep as they were asked: nothing is learned from what stands in their place."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gyrostat.registry.v1 import model_pb2
from gyrostat_trainer.domain.errors import NothingToLearnFrom
from gyrostat_trainer.engine import rows
from gyrostat_trainer.engine.datasets import Datasets, digest
from gyrostat_trainer.wire import spec_from
from support.trainer import MODEL, labelled_rows, write_archive


def a_dataset(folder: Path, n_days: int) -> str:
    file = folder / "history.parquet"
    pq.write_table(labelled_rows(n_days, per_day=50), file)
    datasets = Datasets((folder / "datasets").as_uri())
    datasets.write("history", file, digest(file), append=False, request_id="one")
    return datasets.uri("history")


def wanted(folder: Path, private: tuple[str, ...], dataset: str = "") -> rows.Wanted:
    return rows.Wanted(
        predictions_uri=str(folder / "archive" / "predictions" / MODEL),
        outcomes_uri=str(folder / "archive" / "outcomes" / MODEL),
        dataset_uri=dataset,
        environment="production",
        until_us=None,
        horizon_s=86_400,
        private=private,
    )


def test_only_a_dataset_may_be_learned_from(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", labelled_rows(2, per_day=100, first_day=2))
    dataset = a_dataset(tmp_path, 2)
    both = rows.find(wanted(tmp_path, (), dataset))
    alone = rows.find(wanted(tmp_path, ("carrier",), dataset))
    assert (both.rows.num_rows, alone.rows.num_rows) == (100 + 180, 100)
    assert (alone.answers, alone.labelled, alone.frames) == (0, 0, {})
    assert list(alone.tables) == [dataset]
    assert "does not keep carrier as asked" in alone.filter


def test_without_a_dataset_the_run_says_which_input_and_what_to_do(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", labelled_rows(2, per_day=100))
    with pytest.raises(NothingToLearnFrom, match=r"does not keep carrier as asked.*name a dataset.*or make it plain"):
        rows.find(wanted(tmp_path, ("carrier",)))


def test_the_spec_names_what_is_not_kept_as_asked() -> None:
    spec = model_pb2.ModelSpec(
        sensitivity={
            "card": model_pb2.SENSITIVITY_HASH,
            "age": model_pb2.SENSITIVITY_BUCKET,
            "note": model_pb2.SENSITIVITY_DROP,
            "amount": model_pb2.SENSITIVITY_PLAIN,
        }
    )
    kept = spec_from(spec)
    assert kept.private == ("age", "card", "note")
    assert type(kept).from_json(kept.to_json()) == kept
