"""A candidate takes the champion's place: its graph takes and answers the tensors that callers know already."""

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

from gyrostat_trainer.domain.errors import NotInRows
from gyrostat_trainer.engine import probe
from gyrostat_trainer.engine.scoring import Scorer
from gyrostat_trainer.pipelines import tabular
from gyrostat_trainer.pipelines.contract import Contract, Tensor, carried
from gyrostat_trainer.pipelines.door import Door, JobRefused

SMALL = {"num_boost_round": 20, "min_data_in_leaf": 10}
NUMPY: dict[str, Any] = {
    "INT64": np.int64,
    "INT32": np.int32,
    "UINT8": np.uint8,
    "FP64": np.float64,
    "FP32": np.float32,
    "FP16": np.float16,
    "BOOL": np.bool_,
}


def rows(task: str = "binary", n: int = 2_000) -> pa.Table:
    rng = np.random.default_rng(3)
    count, wet = rng.integers(0, 40, n), rng.integers(0, 2, n)
    ratio = rng.normal(0.0, 1.0, n)
    carrier = rng.choice(["AA", "B6", "DL"], n)
    margin = 0.1 * (count - 20) + ratio + wet + (carrier == "B6") + rng.logistic(size=n)
    labels = {
        "binary": (margin > 0.5).astype(float),
        "multiclass": np.digitize(margin, [-1.0, 1.5]).astype(float),
        "regression": margin,
    }[task]
    ratio[::10] = np.nan
    columns = {"count": count.astype(np.float32), "ratio": ratio.astype(np.float32), "wet": wet.astype(np.float32)}
    return pa.table({**columns, "carrier": carrier, "label": labels})


def callers(*inputs: tuple[str, str, tuple[int, ...]], outputs: Any = (), score: str = "") -> Contract:
    return Contract(tuple(Tensor(*one) for one in inputs), tuple(Tensor(*one) for one in outputs), score)


def train(folder: Path, contract: Contract, task: str = "binary", **parameters: Any) -> Path:
    table = rows(task)
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "rows.parquet")
    inputs = ["count", "ratio", "wet", "carrier"]
    pq.write_table(probe.rows(table, table, inputs), folder / "probe.parquet")
    parameters = {**SMALL, "task": task, **parameters}
    tabular.train(Door(folder / "rows.parquet", folder, parameters, probe=folder / "probe.parquet", contract=contract))
    return folder / "model.onnx"


def difference(folder: Path, task: str = "binary", score: str = "") -> float:
    """Between what was trained and what is served, on ordinary and odd rows."""
    table = pq.read_table(folder / "parity.parquet")
    columns = [c for c in table.column_names if c.startswith("__score")]
    native = np.stack([table.column(c).to_numpy() for c in columns], axis=1)
    served = Scorer(folder / "model.onnx", task, score).scores(table.drop_columns(columns)).reshape(len(native), -1)
    return float(np.abs(native - served).max()) / max(1.0, float(np.abs(native).max()))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("datatype", ["INT64", "INT32", "UINT8", "FP64", "FP32", "FP16", "BOOL"])
def test_any_number_is_taken_as_callers_send_it(tmp_path: Path, datatype: str, shape: tuple[int, ...]) -> None:
    contract = callers(
        ("count", datatype, shape), ("ratio", "FP64", (-1,)), ("wet", "BOOL", shape), ("carrier", "BYTES", shape)
    )
    model = train(tmp_path, contract)
    assert difference(tmp_path) < 1e-5
    form = (3,) if len(shape) < 2 else (3, 1)
    feed = {
        "count": np.array([0, 7, 1]).astype(NUMPY[datatype]).reshape(form),
        "ratio": np.array([np.nan, 0.25, -1.0]),
        "wet": np.array([True, False, True]).reshape(form),
        "carrier": np.array(["AA", "B6", "never seen"], dtype=object).reshape(form),
    }
    probabilities, label = ort.InferenceSession(str(model)).run(["probabilities", "label"], feed)
    assert (probabilities.shape, label.shape) == ((3, 2), (3,))
    assert np.isfinite(probabilities).all()


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("binary", [("risk", "FP64", (-1,))]),
        ("binary", [("positive", "FP32", (-1, 1)), ("decision", "INT32", (-1, 1))]),
        ("binary", [("probabilities", "FP32", (-1,)), ("label", "BOOL", (-1,))]),
        ("binary", [("label", "INT64", (-1,)), ("probabilities", "FP32", (-1, 2))]),
        ("multiclass", [("scores", "FP64", (-1, 3)), ("label", "INT64", (-1,))]),
        ("regression", [("margin", "FP64", (-1,))]),
        ("regression", [("prediction", "FP32", (-1, 1))]),
    ],
)
def test_callers_read_what_they_read_before(tmp_path: Path, task: str, outputs: list[Any]) -> None:
    train(tmp_path, callers(("count", "INT64", (-1,)), ("features", "FP32", (-1,)), outputs=outputs), task)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    feed = {"count": np.array([0, 39]), "features": np.zeros(2, np.float32)}
    answers = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    assert sorted(answers) == sorted(name for name, _, _ in outputs)
    for name, datatype, shape in outputs:
        assert answers[name].dtype == NUMPY[datatype]
        assert answers[name].shape == (2, *shape[1:])
    score = next(name for name, datatype, _ in outputs if datatype.startswith("FP"))
    assert difference(tmp_path, task, score) < 1e-5


def test_an_input_that_cannot_be_learned_from_is_taken_all_the_same(tmp_path: Path) -> None:
    contract = callers(
        ("embedding", "FP32", (-1, 8)), ("history", "INT64", (-1, -1, 2)), ("count", "INT64", (-1,)),
        ("nowhere", "FP32", (-1,)), ("wet", "BOOL", (-1,)), ("ratio", "FP64", (-1,)),
    )  # fmt: skip
    model = train(tmp_path, contract, ignore=["wet"])
    feed = {
        "embedding": np.ones((2, 8), np.float32),
        "history": np.zeros((2, 5, 2), np.int64),
        "count": np.array([1, 2]),
        "nowhere": np.zeros(2, np.float32),
        "wet": np.array([True, False]),
        "ratio": np.zeros(2),
    }
    assert {i.name for i in ort.InferenceSession(str(model)).get_inputs()} == set(feed)
    assert ort.InferenceSession(str(model)).run(["label"], feed)[0].shape == (2,)
    assert difference(tmp_path) < 1e-5


def test_names_of_callers_do_not_meet_the_graphs_own(tmp_path: Path) -> None:
    table = rows().rename_columns(["threshold", "features", "one", "positive", "label"])
    pq.write_table(table, tmp_path / "rows.parquet")
    tabular.train(Door(tmp_path / "rows.parquet", tmp_path, SMALL))
    scores = Scorer(tmp_path / "model.onnx", "binary").scores(table.drop_columns(["label"]))
    assert np.corrcoef(scores, table.column("label").to_numpy())[0, 1] > 0.3


def test_the_same_callers_give_the_same_bytes(tmp_path: Path) -> None:
    contract = callers(("count", "INT64", (-1,)), ("ratio", "FP64", (-1,)), outputs=[("risk", "FP64", (-1,))])
    assert train(tmp_path / "a", contract).read_bytes() == train(tmp_path / "b", contract).read_bytes()


def test_a_champion_of_the_same_pipeline_changes_nothing(tmp_path: Path) -> None:
    numbers = [(name, "FP32", (-1, 1)) for name in ("count", "ratio", "wet")]
    outputs = [("probabilities", "FP32", (-1, 2)), ("label", "INT64", (-1,))]
    contract = callers(*numbers, ("carrier", "BYTES", (-1, 1)), outputs=outputs, score="probabilities")
    assert train(tmp_path / "a", contract).read_bytes() == train(tmp_path / "b", Contract()).read_bytes()


def test_text_where_callers_send_numbers_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="column 'carrier' is text, and callers send INT64"):
        train(tmp_path, callers(("carrier", "INT64", (-1,))))
    with pytest.raises(JobRefused, match="column 'count' is numbers, and callers send BYTES"):
        train(tmp_path, callers(("count", "BYTES", (-1,))))
    with pytest.raises(JobRefused, match=r"no feature is left; callers send image FP32 \[-1, 3, 8, 8\]"):
        train(tmp_path, callers(("image", "FP32", (-1, 3, 8, 8))))


def test_the_door_reads_the_signature() -> None:
    text = json.dumps({"inputs": [{"name": "a", "datatype": "INT64", "shape": [-1]}], "score_output": "s"})
    door = {"GYROSTAT_DATASET": "a", "GYROSTAT_OUTPUT": ".", "GYROSTAT_SIGNATURE": text}
    assert Door.open(door).contract == Contract((Tensor("a", "INT64", (-1,)),), (), "s")
    for wrong in ("{", "[]", '{"inputs": [{}]}'):
        with pytest.raises(JobRefused, match="GYROSTAT_SIGNATURE is not the JSON of a signature"):
            Door.open({**door, "GYROSTAT_SIGNATURE": wrong})


def test_what_a_tensor_cannot_carry_becomes_what_it_can() -> None:
    odd = np.array([np.nan, -np.inf, np.inf, 2.9, -1.0])
    limits = np.iinfo(np.int64)
    assert carried(odd, "INT64").tolist() == [0, limits.min, limits.max - 1023, 2, -1]
    assert carried(odd, "UINT8").tolist() == [0, 0, 255, 2, 0]
    assert carried(odd, "BOOL").tolist() == [False, True, True, True, True]
    assert np.isnan(carried(odd, "FP16")[0])


def test_a_model_that_computes_with_lists_is_not_asked_about_rows(tmp_path: Path) -> None:
    inputs = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1])
    node = onnx.helper.make_node("ReduceSum", ["x", "axis"], ["y"])
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    graph = onnx.helper.make_graph([node], "lists", inputs, [output], initializer=[axis])
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(NotInRows, match=r"computes with x tensor\(float\) \['n', 4\]"):
        Scorer(tmp_path / "m.onnx", "binary")
