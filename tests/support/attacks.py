"""ONNX files that mean harm: to the disk, the memory, the time, or the names that others print and look up."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from support.graphs import GraphFile

X, Y = ("x", "FP32", (-1, 1)), ("y", "FP32", (-1, 1))


def _value(name: str, kind: int = TensorProto.FLOAT, shape: list[int | None] | None = None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[NodeProto],
    constants: list[TensorProto] = [],  # noqa: B006 - never changed
    inputs: list[ValueInfoProto] | None = None,
    outputs: list[ValueInfoProto] | None = None,
    domain: str = "",
) -> onnx.ModelProto:
    inputs = inputs or [_value("x", shape=[None, 1])]
    outputs = outputs or [_value("y", shape=[None, 1])]
    graph = helper.make_graph(nodes, "attack", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def an_endless_loop(also_at_zero: bool = False) -> GraphFile:
    """Never ends for inputs whose sum is above zero; `also_at_zero`: never ends, not even when it is warmed."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Add", ["v", "v"], ["v_out"])],
        "body",
        [_value("i", TensorProto.INT64, []), _value("on", TensorProto.BOOL, []), _value("v")],
        [_value("on_out", TensorProto.BOOL, []), _value("v_out")],
    )
    least = -1.0 if also_at_zero else 0.0
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "least"], ["go"]),
        helper.make_node("Loop", ["", "go", "x"], ["y"], body=body),
    ]
    constants = [numpy_helper.from_array(np.array(least, np.float32), "least")]
    return GraphFile(_model(nodes, constants).SerializeToString(), (X,), (Y,))


def a_blow_up() -> GraphFile:
    """`y` has as many numbers as the one number of `n` says."""
    inputs, outputs = [_value("n", TensorProto.INT64, [1])], [_value("y", shape=[None])]
    model = _model([helper.make_node("ConstantOfShape", ["n"], ["y"])], [], inputs, outputs)
    return GraphFile(model.SerializeToString(), (("n", "INT64", (1,)),), (("y", "FP32", (-1,)),))


def _blows_up_when_warmed(count: int) -> onnx.ModelProto:
    """One number is tiled to `count`, and summed up again: nothing of it shows in the signature."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["one"], keepdims=0),
        helper.make_node("Reshape", ["one", "flat"], ["single"]),
        helper.make_node("Tile", ["single", "many"], ["tiled"]),
        helper.make_node("ReduceSum", ["tiled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "flat"),
        numpy_helper.from_array(np.array([count], np.int64), "many"),
    ]
    return _model(nodes, constants)


def _external(location: str) -> onnx.ModelProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], [weights])


def _claims(count: int) -> onnx.ModelProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count], raw_data=b"\0" * 16)
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], [weights])


def _nested(depth: int) -> bytes:
    """If within If within If, put together by hand: the library itself does not get this deep."""

    def field(number: int, content: bytes) -> bytes:
        size, head = len(content), bytes([number << 3 | 2])
        while size > 127:
            head += bytes([size & 127 | 128])
            size >>= 7
        return head + bytes([size]) + content

    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [_value("y")]).SerializeToString()
    end = field(2, b"g") + field(12, _value("y").SerializeToString())
    for _ in range(depth):
        attributes = b"".join(
            field(5, field(1, name) + field(6, inner if name == b"then_branch" else b"") + b"\xa0\x01\x05")
            for name in (b"then_branch", b"else_branch")
        )
        inner = field(1, field(1, b"c") + field(2, b"y") + field(4, b"If") + attributes) + end
    shell = _model([helper.make_node("Identity", ["x"], ["y"])])
    shell.ClearField("graph")
    return bytes(shell.SerializeToString() + field(7, inner))


def _many_inputs(count: int) -> onnx.ModelProto:
    names = [f"x{n}" for n in range(count)]
    node = helper.make_node("Sum", names, ["y"])
    return _model([node], inputs=[_value(name, shape=[None, 1]) for name in names])


def _same_name_twice() -> onnx.ModelProto:
    return _model([helper.make_node("Identity", ["x"], ["y"])], inputs=[_value("x", shape=[None, 1])] * 2)


def _named(name: bytes) -> bytes:
    """The input's name, wherever it stands, is other bytes of the same length."""
    placeholder = b"Q" * len(name)
    text = placeholder.decode()
    model = _model([helper.make_node("Identity", [text], ["y"])], inputs=[_value(text, shape=[None, 1])])
    return bytes(model.SerializeToString().replace(placeholder, name))


REFUSED_BY_BOTH: dict[str, bytes] = {
    "external /etc/passwd": _external("/etc/passwd").SerializeToString(),
    "external ../../x": _external("../../x").SerializeToString(),
    "a custom operator": _model(
        [helper.make_node("Evil", ["x"], ["y"], domain="com.evil")], domain="com.evil"
    ).SerializeToString(),
    "claims 2 GB": _claims(500_000_000).SerializeToString(),
    "claims 50 GB": _claims(12_500_000_000).SerializeToString(),
    "nested 10,000 deep": _nested(10_000),
    "the same input twice": _same_name_twice().SerializeToString(),
    "a name that is not UTF-8": _named(b"\xff\xfe\xfd\xfc\xfb"),
}
REFUSED_BY_THE_REGISTRY: dict[str, bytes] = {
    "10,000 inputs": _many_inputs(10_000).SerializeToString(),
    "a newline in a name": _named(b"good\n{'level': 'bad'}"),
    "a NUL in a name": _named(b"go\0od"),
}
REFUSED_BY_THE_TRIAL: dict[str, tuple[bytes, str]] = {
    "never ends when warmed": (an_endless_loop(also_at_zero=True).raw, "did not come to an end"),
    "80 GB when warmed": (_blows_up_when_warmed(20_000_000_000).SerializeToString(), "could not score"),
    "1e18 bytes when warmed": (_blows_up_when_warmed(10**18).SerializeToString(), "could not score"),
}
PATH_LIKE = _named(b"../../etc/passwd")
