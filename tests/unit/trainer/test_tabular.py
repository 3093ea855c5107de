"""The built-in pipeline: what is served is what was trained, for every odd row, and the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyrostat_trainer.engine import probe
from gyrostat_trainer.engine.scoring import Scorer
from gyrostat_trainer.pipelines import tabular
from gyrostat_trainer.pipelines.door import Door, JobRefused
from gyrostat_trainer.pipelines.graph import floor32

SMALL = {"num_boost_round": 20, "min_data_in_leaf": 10}


def rows(n: int = 3_000, task: str = "binary", seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    carrier = rng.choice(["AA", "B6", "DL", "", "rare"], n, p=[0.4, 0.3, 0.28, 0.015, 0.005])
    wind = rng.gamma(2.0, 3.0, n).astype(np.float32)
    temp = rng.normal(50.0, 20.0, n).astype(np.float32)
    margin = 0.3 * (wind - 6) + (carrier == "B6") * 1.5 - 0.02 * (temp - 50)
    noise = rng.logistic(size=n)
    labels = {
        "binary": (margin + noise > 0.5).astype(float),
        "multiclass": np.digitize(margin + noise, [-1.0, 1.5]).astype(float),
        "regression": margin * 3 + noise,
    }[task]
    wind[rng.random(n) < 0.1] = np.nan
    times = np.arange(n) * 60_000_000
    return pa.table(
        {
            "carrier": pa.array([None if c == "" else c for c in carrier]),
            "wind": pa.array(wind, from_pandas=True),
            "temp": pa.array(temp),
            "complete": pa.array(rng.integers(0, 5, n)),
            "label": pa.array(labels),
            "event_time": pa.array(times).cast(pa.timestamp("us", "UTC")),
        }
    )


def train(folder: Path, table: pa.Table, **parameters: Any) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "rows.parquet")
    inputs = [name for name in ("carrier", "wind", "temp", "complete") if name in table.column_names]
    typed = table.select(inputs)
    for name in inputs:
        kind = pa.string() if name == "carrier" else pa.float32()
        typed = typed.set_column(typed.schema.get_field_index(name), name, typed.column(name).cast(kind))
    pq.write_table(probe.rows(typed, typed, inputs), folder / "probe.parquet")
    door = Door(
        folder / "rows.parquet",
        folder,
        {**SMALL, **parameters},
        progress=folder / "progress.jsonl",
        probe=folder / "probe.parquet",
    )
    tabular.train(door)
    return folder / "model.onnx"


def parity(folder: Path, task: str) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(folder / "parity.parquet")
    columns = [c for c in table.column_names if c.startswith("__score")]
    native = np.stack([table.column(c).to_numpy() for c in columns], axis=1)
    served = Scorer(folder / "model.onnx", task).scores(table.drop_columns(columns))
    return native, served.reshape(len(native), -1)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_served_graph_answers_as_the_trained_model_on_ordinary_and_odd_rows(tmp_path: Path, task: str) -> None:
    train(tmp_path, rows(task=task), task=task)
    native, served = parity(tmp_path, task)
    assert len(native) > 3_000
    scale = 1.0 if task != "regression" else float(np.abs(native).max())
    assert float(np.abs(native - served).max()) / scale < 1e-5
    if task == "binary":
        assert ((native.astype(np.float32) >= 0.5) == (served >= 0.5)).all()


def test_the_graph_has_named_inputs_and_the_outputs_of_the_contract(tmp_path: Path) -> None:
    session = ort.InferenceSession(str(train(tmp_path, rows())))
    assert [(i.name, i.type, len(i.shape)) for i in session.get_inputs()] == [
        ("carrier", "tensor(string)", 2),
        ("wind", "tensor(float)", 2),
        ("temp", "tensor(float)", 2),
        ("complete", "tensor(float)", 2),
    ]
    feed = {
        "carrier": np.array([["AA"], ["never seen"], [""]], dtype=object),
        **{name: np.array([[np.nan], [1.0], [1e30]], dtype=np.float32) for name in ("wind", "temp", "complete")},
    }
    probabilities, label = session.run(["probabilities", "label"], feed)
    assert (probabilities.shape, probabilities.dtype) == ((3, 2), np.float32)
    assert (label.shape, label.dtype) == ((3,), np.int64)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    assert (label == (probabilities[:, 1] >= 0.5)).all()


def test_missing_unseen_and_rare_categories_are_answered_alike(tmp_path: Path) -> None:
    scorer = Scorer(train(tmp_path, rows(), min_category_rows=100), "binary")
    same = {"wind": [5.0] * 4, "temp": [50.0] * 4, "complete": [1.0] * 4}
    scores = scorer.scores(pa.table({"carrier": ["", "never", "rare", "B6"], **same}))
    assert scores[0] == scores[1] == scores[2] != scores[3]


def test_a_number_that_was_never_missing_in_training_may_be_missing_in_service(tmp_path: Path) -> None:
    train(tmp_path, rows(), features=["temp", "complete"])
    native, served = parity(tmp_path, "binary")
    assert float(np.abs(native - served).max()) < 1e-5


def test_what_lightgbm_takes_for_zero_is_zero_in_the_graph(tmp_path: Path) -> None:
    table = rows(2_000, seed=5)
    rng = np.random.default_rng(5)
    wind = rng.choice([-1.0, 0.0, 1.0], 2_000).astype(np.float32)
    label = (rng.random(2_000) < np.where(wind < 0, 0.9, 0.2)).astype(float)
    table = table.set_column(table.schema.get_field_index("wind"), "wind", pa.array(wind))
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(label))
    model = train(tmp_path, table, features=["wind", "temp"])
    native, served = parity(tmp_path, "binary")
    assert float(np.abs(native - served).max()) < 1e-5
    tiny = [0.0, -0.0, 1e-38, -1e-38]
    scores = Scorer(model, "binary").scores(pa.table({"wind": tiny, "temp": [50.0] * 4}))
    assert len(set(scores.tolist())) == 1


def test_an_infinite_input_takes_the_side_it_took_in_training(tmp_path: Path) -> None:
    # Where only *being missing* tells something, a split sends every number left, infinity too.
    table = rows(2_000, seed=4)
    missing = np.isnan(table.column("wind").to_numpy(zero_copy_only=False))
    label = pa.array(np.where(np.random.default_rng(0).random(2_000) < 0.9, missing, ~missing).astype(float))
    constant = pa.array(np.where(missing, np.nan, 1.0).astype(np.float32))
    table = table.set_column(table.schema.get_field_index("label"), "label", label)
    table = table.set_column(table.schema.get_field_index("wind"), "wind", constant)
    model = train(tmp_path, table, features=["wind", "temp"])
    native, served = parity(tmp_path, "binary")
    assert float(np.abs(native - served).max()) < 1e-5
    infinite = pa.table({"wind": [float("inf"), 1.0], "temp": [50.0, 50.0]})
    scores = Scorer(model, "binary").scores(infinite)
    assert scores[0] == scores[1]


def test_a_retrain_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = train(tmp_path / "a", rows()).read_bytes()
    assert train(tmp_path / "b", rows()).read_bytes() == first
    assert train(tmp_path / "c", rows(), seed=1).read_bytes() != first


def test_features_can_be_chosen_and_ignored(tmp_path: Path) -> None:
    model = onnx.load(train(tmp_path, rows(), features=["wind", "temp", "carrier"], ignore=["temp"]))
    assert [i.name for i in model.graph.input] == ["wind", "carrier"]


def test_recent_rows_count_more_with_a_half_life(tmp_path: Path) -> None:
    old, new = rows(2_000, seed=1), rows(2_000, seed=2)
    turned = new.set_column(new.schema.get_field_index("label"), "label", pa.array(1 - new.column("label").to_numpy()))
    later = pa.array(np.arange(2_000) * 60_000_000 + 40 * 86_400_000_000).cast(pa.timestamp("us", "UTC"))
    turned = turned.set_column(turned.schema.get_field_index("event_time"), "event_time", later)
    both = pa.concat_tables([old, turned])
    fresh = turned.select(["carrier", "wind", "temp", "complete"])
    labels = turned.column("label").to_numpy()
    plain = Scorer(train(tmp_path / "a", both), "binary").scores(fresh)
    weighted = Scorer(train(tmp_path / "b", both, half_life_days=5), "binary").scores(fresh)
    assert ((weighted >= 0.5) == labels).mean() > ((plain >= 0.5) == labels).mean() + 0.1


def test_progress_and_metrics_are_left_for_the_trainer(tmp_path: Path) -> None:
    train(tmp_path, rows())
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["fraction"] for line in lines] == sorted(line["fraction"] for line in lines)
    assert lines[-1]["fraction"] == 1.0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert max(metrics["importance"], key=metrics["importance"].get) in ("wind", "carrier")
    assert metrics["train.rows"] == 3_000


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"leaves": 3}, "parameter leaves"),
        ({"features": ["nope"]}, "feature 'nope' is not in the dataset"),
        ({"task": "multiclass", "ignore": ["wind", "temp", "carrier", "complete"]}, "no feature is left"),
        ({"num_leaves": 1}, "parameter num_leaves"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(tmp_path: Path, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(JobRefused, match=words):
        train(tmp_path, rows(), **parameters)


def test_labels_that_cannot_be_learnt_are_refused(tmp_path: Path) -> None:
    table = rows(500)
    place = table.schema.get_field_index("label")
    with pytest.raises(JobRefused, match="every label is 1"):
        train(tmp_path, table.set_column(place, "label", pa.array(np.ones(500))))
    with pytest.raises(JobRefused, match="0 or 1"):
        train(tmp_path, table.set_column(place, "label", pa.array(np.arange(500.0))), task="binary")


def test_the_door_names_the_variable_that_is_missing() -> None:
    with pytest.raises(JobRefused, match="GYROSTAT_DATASET"):
        Door.open({})
    with pytest.raises(JobRefused, match="GYROSTAT_PARAMETERS is not JSON"):
        Door.open({"GYROSTAT_DATASET": "a", "GYROSTAT_OUTPUT": "b", "GYROSTAT_PARAMETERS": "{"})


def test_a_threshold_is_rounded_down_to_float32() -> None:
    assert floor32(1e300) == float(np.finfo(np.float32).max)
    assert floor32(-1e300) == float("-inf")
    for value in (0.1, -0.1, 3.0, 1 + 2**-30):
        low = floor32(value)
        assert np.float32(low) == low
        assert low <= value < float(np.nextafter(np.float32(low), np.float32(np.inf)))
