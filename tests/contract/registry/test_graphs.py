"""Graphs are read in a child process, and whatever is no graph to be served is refused with the reason."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gyrostat_registry.domain.errors import BadArtifact
from gyrostat_registry.domain.version import TensorSpec
from gyrostat_registry.engine.reader import GraphReader
from support.attacks import PATH_LIKE, REFUSED_BY_BOTH, REFUSED_BY_THE_REGISTRY
from support.registry import onnx_bytes


@pytest.fixture
def reader() -> GraphReader:
    return GraphReader(timeout_s=60)


def model_of(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], **more: object) -> bytes:
    nodes = [helper.make_node("Identity", [inputs[0].name], [outputs[0].name])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, **more)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def tensor(name: str, kind: int = TensorProto.FLOAT, shape: list[object] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


async def test_names_types_and_dynamic_dimensions(reader: GraphReader, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    value = helper.make_tensor("held", TensorProto.FLOAT, [1], [1.0])
    inputs = [
        tensor("a", TensorProto.STRING, ["n", 1]),
        tensor("b", TensorProto.INT64, [None, 3]),
        tensor("held", TensorProto.FLOAT, [1]),
        tensor("half", TensorProto.FLOAT16, [2]),
    ]
    path.write_bytes(model_of(inputs, [tensor("out", TensorProto.STRING, ["n", 1])], initializer=[value]))
    read = await reader.signature(path)
    assert read.inputs == (
        TensorSpec("a", "BYTES", (-1, 1)),
        TensorSpec("b", "INT64", (-1, 3)),
        TensorSpec("half", "FP16", (2,)),
    )
    assert read.outputs == (TensorSpec("out", "BYTES", (-1, 1)),)


def external() -> bytes:
    model = onnx.ModelProto.FromString(onnx_bytes())
    held = model.graph.initializer[0]
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value="../../etc/passwd")
    held.ClearField("raw_data")
    held.ClearField("float_data")
    return bytes(model.SerializeToString())


def sequence_output() -> bytes:
    made = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    out = helper.make_value_info("out", helper.make_sequence_type_proto(made))
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["out"])], "g", [tensor("x", shape=[None, 1])], [out]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def broken_graph() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "nowhere"], ["out"])], "g", [tensor("x", shape=[1])], [tensor("out", shape=[1])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def large() -> bytes:
    weights = numpy_helper.from_array(np.zeros(200_000, dtype=np.float32), "w")
    return model_of([tensor("x", shape=[None])], [tensor("out", shape=[None])], initializer=[weights])


BAD = {
    "empty": b"",
    "text": b"this is a pickle, honestly\n" * 50,
    "zeros": b"\x00" * 4096,
    "truncated": large()[:-5_000],
    "cut in the graph": onnx_bytes()[: math.ceil(len(onnx_bytes()) * 0.6)],
    "external": external(),
    "sequence": sequence_output(),
    "broken": broken_graph(),
    "no graph": bytes(onnx.ModelProto(ir_version=9).SerializeToString()),
    "complex": model_of([tensor("x", TensorProto.COMPLEX64, [1])], [tensor("out", TensorProto.COMPLEX64, [1])]),
    **REFUSED_BY_BOTH,
    **REFUSED_BY_THE_REGISTRY,
}


@pytest.mark.parametrize("name", list(BAD))
async def test_what_cannot_be_served_is_refused(reader: GraphReader, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BAD[name])
    with pytest.raises(BadArtifact, match="the artifact cannot be served: "):
        await reader.signature(path)


async def test_a_reader_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes())
    with pytest.raises(BadArtifact, match=r"within 0\.001 s"):
        await GraphReader(timeout_s=0.001).signature(path)


async def test_a_name_that_looks_like_a_path_is_a_name(reader: GraphReader, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(PATH_LIKE)
    assert (await reader.signature(path)).inputs[0].name == "../../etc/passwd"


FLIPPED = """
import sys, random
from gyrostat_registry.engine.graph import Refused, read
whole = open(sys.argv[1], "rb").read()
for seed in range(300):
    draw = random.Random(seed)
    bad = bytearray(whole[: draw.randrange(1, len(whole))] if seed % 3 == 0 else whole)
    for _ in range(draw.randrange(1, 9)):
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
    with open(sys.argv[2], "wb") as file:
        file.write(bad)
    try:
        read(sys.argv[2])
    except Refused:
        pass
    except Exception as error:
        sys.exit(f"seed {seed}: {error!r}")
"""


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Three hundred files, cut off or with up to eight bits turned, in one child: a crash would be its end."""
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(onnx_bytes())
    command = [sys.executable, "-c", FLIPPED, str(whole), str(tmp_path / "bad.onnx")]
    child = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert child.returncode == 0, child.stderr[-500:]
