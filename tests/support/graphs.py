"""Small real ONNX graphs for tests, made here so that each test says what its model does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2

OPSET = 18
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file and what it declares."""

    raw: bytes
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    def signature(self) -> model_pb2.Signature:
        def tensors(specs: Sequence[tuple[str, str, tuple[int, ...]]]) -> list[model_pb2.TensorSpec]:
            return [model_pb2.TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in specs]

        return model_pb2.Signature(inputs=tensors(self.inputs), outputs=tensors(self.outputs))

    def planned(self, number: int, **fields: Any) -> pb.PlannedVersion:
        artifact = model_pb2.Artifact(sha256=self.sha256, size_bytes=len(self.raw), name="model.onnx")
        return pb.PlannedVersion(number=number, artifact=artifact, signature=self.signature(), **fields)


def _file(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, str, tuple[int, ...]]],
    outputs: Sequence[tuple[str, str, tuple[int, ...]]],
    constants: Sequence[onnx.TensorProto] = (),
) -> GraphFile:
    def values(specs: Sequence[tuple[str, str, tuple[int, ...]]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, ELEMENTS[datatype], [None if d == -1 else d for d in shape])
            for name, datatype, shape in specs
        ]

    graph = helper.make_graph(list(nodes), "test", values(inputs), values(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return GraphFile(model.SerializeToString(), tuple(inputs), tuple(outputs))


def a_scorer(weights: Mapping[str, float], bias: float = 0.0, texts: Sequence[str] = ()) -> GraphFile:
    """Binary: `probabilities` [-1, 2] = (1 - p, p) with p = sigmoid(sum of weight x input + bias); `label` INT64 [-1].

    Each input is FP32 [-1, 1]; inputs in `texts` are BYTES [-1, 1] that change nothing.
    """
    names = list(weights)
    inputs = [*((name, "FP32", (-1, 1)) for name in names), *((name, "BYTES", (-1, 1)) for name in texts)]
    constants = [
        numpy_helper.from_array(np.array([[weights[name]] for name in names], np.float32), "w"),
        numpy_helper.from_array(np.array([bias], np.float32), "b"),
        numpy_helper.from_array(np.array([1.0], np.float32), "one"),
        numpy_helper.from_array(np.array([0.5], np.float32), "half"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Concat", names, ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["p", "half"], ["above"]),
        helper.make_node("Squeeze", ["above", "axis"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["label"], to=TensorProto.INT64),
    ]
    for name in texts:
        nodes.append(helper.make_node("Identity", [name], [f"{name}_unused"]))
    return _file(nodes, inputs, [("probabilities", "FP32", (-1, 2)), ("label", "INT64", (-1,))], constants)


def an_echo(datatype: str, shape: tuple[int, ...] = (-1, -1)) -> GraphFile:
    """`y` is `x`, whatever the datatype."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return _file([node], [("x", datatype, shape)], [("y", datatype, shape)])


def a_reshaper() -> GraphFile:
    """Raises for any request whose number of values is not divisible by 3: `y` = `x` as rows of 3."""
    shape = numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return _file([node], [("x", "FP32", (-1,))], [("y", "FP32", (-1, 3))], [shape])


def a_picky_scorer() -> GraphFile:
    """Raises for requests of 2 rows, takes 1 and 3: adds three numbers to `x`."""
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.arange(3, dtype=np.float32), "three"),
    ]
    nodes = [helper.make_node("Squeeze", ["x", "axis"], ["flat"]), helper.make_node("Add", ["flat", "three"], ["y"])]
    return _file(nodes, [("x", "FP32", (-1, 1))], [("y", "FP32", (-1,))], constants)


def a_matrix(rows: int = 2, columns: int = 3) -> GraphFile:
    """No batch: the whole request is one row. `y` = sum over `x` of a fixed shape."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    return _file([node], [("x", "FP32", (rows, columns))], [("y", "FP32", ())])


def a_plan(model: str, revision: int, champion: pb.PlannedVersion | None, **fields: Any) -> pb.ServingPlan:
    """A plan of the production environment."""
    return pb.ServingPlan(environment="production", model=model, revision=revision, champion=champion, **fields)
