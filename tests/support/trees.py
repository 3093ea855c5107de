"""A real boosted model for tests: LightGBM, with text inputs encoded inside the graph, one named input per feature."""

from __future__ import annotations

import warnings

import lightgbm as lgb
import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import GraphFile


def a_boosted_classifier(numbers: int, categories: int, trees: int = 100, seed: int = 7) -> GraphFile:
    """Inputs x0… FP32 [-1, 1] and c0… BYTES [-1, 1] with values k0 … k15; outputs as a tabular pipeline's."""
    return _with_named_inputs(_boosted(numbers, categories, trees, seed), numbers, categories)


def a_boosted_vector(numbers: int, trees: int = 100, seed: int = 7) -> GraphFile:
    """One input `x` FP32 [-1, numbers], as the servers of other people are measured with; the same two outputs."""
    made = _boosted(numbers, 0, trees, seed)
    outputs = (("label", "INT64", (-1,)), ("probabilities", "FP32", (-1, 2)))
    return GraphFile(made.SerializeToString(), (("x", "FP32", (-1, numbers)),), outputs)


def _boosted(numbers: int, categories: int, trees: int, seed: int) -> onnx.ModelProto:
    """Trained on noise with a signal in its first number."""
    rng = np.random.default_rng(seed)
    width = numbers + categories
    x = np.hstack([rng.normal(size=(4000, numbers)), rng.integers(0, 16, size=(4000, categories))]).astype(np.float32)
    y = (x[:, 0] + 0.1 * x[:, -1] + rng.normal(size=4000) > 0.5).astype(int)
    parameters = {"objective": "binary", "num_leaves": 31, "num_threads": 1, "verbose": -1, "seed": seed}
    booster = lgb.train(parameters, lgb.Dataset(x, y), num_boost_round=trees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        made: onnx.ModelProto = convert_lightgbm(
            booster, initial_types=[("x", FloatTensorType([None, width]))], zipmap=False
        )
    return made


def _with_named_inputs(made: onnx.ModelProto, numbers: int, categories: int) -> GraphFile:
    """The converted graph behind named inputs: text by a table in the graph, then everything side by side."""
    nodes, columns = [], [f"x{i}" for i in range(numbers)]
    for i in range(categories):
        keys = [f"k{n}" for n in range(16)]
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [f"c{i}"],
                [f"c{i}_number"],
                domain="ai.onnx.ml",
                keys_strings=keys,
                values_floats=[float(n) for n in range(16)],
                default_float=-1.0,
            )
        )
        columns.append(f"c{i}_number")
    nodes.append(helper.make_node("Concat", columns, ["x"], axis=1))
    inputs = [
        *((f"x{i}", "FP32", (-1, 1)) for i in range(numbers)),
        *((f"c{i}", "BYTES", (-1, 1)) for i in range(categories)),
    ]
    elements = {"FP32": TensorProto.FLOAT, "BYTES": TensorProto.STRING}
    graph = helper.make_graph(
        [*nodes, *made.graph.node],
        "trees",
        [helper.make_tensor_value_info(name, elements[kind], [None, 1]) for name, kind, _ in inputs],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        ],
        list(made.graph.initializer),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )
    outputs = (("probabilities", "FP32", (-1, 2)), ("label", "INT64", (-1,)))
    return GraphFile(model.SerializeToString(), tuple(inputs), outputs)
