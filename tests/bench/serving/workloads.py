"""W1 to W4: the graph, what is asked of it, and what it must answer.

W1 is one row of 20 numbers through boosted trees, W2 256 rows, W3 one row through a multilayer perceptron, W4 images of
varying size through a model that finds text. The trees are written as the trainer writes them; the trainer gives each
column an input of its own (`w1-columns`), the others take a row as one tensor, as most clients send it.
"""

from __future__ import annotations

import itertools
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from support.graphs import GraphFile
from support.inference import a_request

FEATURES, TREES = 20, 100
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A graph, a circle of requests, and the values of `output` that each must be answered with."""

    name: str
    title: str
    graph: GraphFile
    rows: int
    inputs: tuple[Inputs, ...]
    output: str

    def session(self) -> Any:
        """ONNX Runtime alone, with one thread."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return ort.InferenceSession(self.graph.raw, options, providers=["CPUExecutionProvider"])

    def messages(self, model: str) -> list[bytes]:
        """The requests, as they go over the wire."""
        return [a_request(model, inputs).SerializeToString() for inputs in self.inputs]

    def expected(self) -> list[np.ndarray]:
        """What ONNX Runtime alone answers."""
        session = self.session()
        return [session.run([self.output], dict(inputs))[0] for inputs in self.inputs]

    def write(self, path: Path, models: Sequence[str], compare: bool = True) -> Path:
        """The file that the generator reads: every request for the models in turn."""
        answers = self.expected()
        count = max(len(self.inputs), len(models))
        messages = {model: self.messages(model) for model in models}
        parts = [struct.pack("<I", count)]
        for place in range(count):
            request = messages[models[place % len(models)]][place % len(self.inputs)]
            values = answers[place % len(answers)].astype("<f4").tobytes() if compare else b""
            name = self.output.encode()
            parts += [struct.pack("<I", len(request)), request, struct.pack("<I", len(name)), name]
            parts += [struct.pack("<I", len(values) // 4), values]
        path.write_bytes(b"".join(parts))
        return path


def w1() -> Workload:
    """One row, one tensor."""
    graph = _as_one_tensor(trees())
    return Workload("W1", "1 row of 20 floats, 100 trees", graph, 1, _matrices(1, 64), "probabilities")


def w1_columns() -> Workload:
    """One row, an input per column."""
    rng = np.random.default_rng(7)
    rows = [{f"x{i}": rng.normal(size=(1, 1)).astype(np.float32) for i in range(FEATURES)} for _ in range(64)]
    title = "the same row as 20 named columns, the graph exactly as the trainer exports it"
    return Workload("W1c", title, trees(), 1, tuple(rows), "probabilities")


def w2() -> Workload:
    """256 rows of W1."""
    graph = _as_one_tensor(trees())
    return Workload("W2", "256 rows of 20 floats, 100 trees", graph, 256, _matrices(256, 16), "probabilities")


def w3(rows: int = 1) -> Workload:
    """A perceptron."""
    title = f"{rows} row{'s' if rows > 1 else ''} of 20 floats, MLP 20-512-512-2"
    return Workload("W3", title, perceptron((FEATURES, 512, 512, 2)), rows, _matrices(rows, 32), "probabilities")


def w4(file: Path) -> Workload:
    """Images of varying height and width; `file` is PP-OCRv4's text detector as RapidOCR ships it."""
    raw = file.read_bytes()
    output = onnx.load_from_string(raw).graph.output[0].name
    graph = GraphFile(raw, (("x", "FP32", (-1, 3, -1, -1)),), ((output, "FP32", (-1, 1, -1, -1)),))
    rng = np.random.default_rng(7)
    sizes = [(32 * int(h), 32 * int(w)) for h, w in rng.integers(2, 6, size=(12, 2))]
    images = tuple({"x": rng.normal(size=(1, 3, height, width)).astype(np.float32)} for height, width in sizes)
    return Workload("W4", "1 image of 64-160 by 64-160, PP-OCRv4 text detector", graph, 1, images, output)


def _matrices(rows: int, count: int) -> tuple[Inputs, ...]:
    rng = np.random.default_rng(7)
    return tuple({"features": rng.normal(size=(rows, FEATURES)).astype(np.float32)} for _ in range(count))


def trees(seed: int = 7) -> GraphFile:
    """LightGBM's trees as the trainer's tabular pipeline writes them: an input [-1, 1] per column."""
    import lightgbm as lgb

    from gyrostat_trainer.pipelines import graph
    from gyrostat_trainer.pipelines.encoding import Feature

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4000, FEATURES)).astype(np.float32)
    y = (x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + rng.normal(size=4000) > 0.5).astype(int)
    parameters = {"objective": "binary", "num_leaves": 31, "num_threads": 1, "verbose": -1, "seed": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        booster = lgb.train(parameters, lgb.Dataset(x, y), num_boost_round=TREES)
    features = tuple(Feature(f"x{i}") for i in range(FEATURES))
    raw = graph.export(booster.dump_model(), features, "binary", 1, 0.5)
    return GraphFile(raw, tuple((f.name, "FP32", (-1, 1)) for f in features), _CLASSIFIED)


_CLASSIFIED = (("probabilities", "FP32", (-1, 2)), ("label", "INT64", (-1,)))


def _as_one_tensor(made: GraphFile) -> GraphFile:
    """The same graph with `features` [-1, n] in place of the columns and of the node that joins them."""
    model = onnx.load_from_string(made.raw)
    width = len(model.graph.input)
    kept = [node for node in model.graph.node if node.name != "concat"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width]))
    onnx.checker.check_model(model)
    return GraphFile(model.SerializeToString(), (("features", "FP32", (-1, width)),), made.outputs)


def shifted(made: GraphFile, by: float) -> GraphFile:
    """Another version of the trees: every margin is larger by so much."""
    model = onnx.load_from_string(made.raw)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    base = next(attribute for attribute in node.attribute if attribute.name == "base_values")
    base.floats[:] = [value + by for value in base.floats]
    return GraphFile(model.SerializeToString(), made.inputs, made.outputs)


def perceptron(sizes: Sequence[int], seed: int = 7) -> GraphFile:
    """Dense layers with ReLU between them, softmax at the end."""
    rng = np.random.default_rng(seed)
    nodes, constants, value = [], [], "features"
    last = len(sizes) - 2
    for layer, (width, height) in enumerate(itertools.pairwise(sizes)):
        weights = (rng.normal(size=(width, height)) / np.sqrt(width)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        constants.append(numpy_helper.from_array(rng.normal(size=height).astype(np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        value = f"a{layer}" if layer < last else "probabilities"
        nodes.append(
            helper.make_node("Relu", [f"z{layer}"], [value])
            if layer < last
            else helper.make_node("Softmax", [f"z{layer}"], [value], axis=1)
        )
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [tensor("features", TensorProto.FLOAT, [None, sizes[0]])],
        [tensor("probabilities", TensorProto.FLOAT, [None, sizes[-1]])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    inputs, outputs = ("features", "FP32", (-1, sizes[0])), ("probabilities", "FP32", (-1, sizes[-1]))
    return GraphFile(model.SerializeToString(), (inputs,), (outputs,))


def alone(workload: Workload) -> Callable[[], object]:
    """A run of the graph by ONNX Runtime on one request after the other, without a server around it."""
    session = workload.session()
    names, feeds = [output.name for output in session.get_outputs()], itertools.cycle(map(dict, workload.inputs))
    return lambda: session.run(names, next(feeds))
