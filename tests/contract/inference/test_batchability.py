"""Which graphs may run the rows of several requests together: found in the trial, with the real runtime."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.probing import why_alone
from gyrostat_inference.engine.trying import TrialProcess
from support import graphs
from support.attacks import an_endless_loop
from support.trees import a_boosted_classifier, a_boosted_vector


@pytest.fixture(scope="module")
def limits() -> Iterator[RunLimits]:
    with RunLimits(10.0) as open_limits:
        yield open_limits


def a_layer(inputs: int, outputs: int, draw: np.random.Generator) -> np.ndarray:
    return (draw.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)


def a_network(*widths: int) -> bytes:
    """Dense layers with a sigmoid between them."""
    draw, nodes, constants, last = np.random.default_rng(1), [], [], "x"
    for place, (wide, narrow) in enumerate(pairwise(widths)):
        constants.append(numpy_helper.from_array(a_layer(wide, narrow, draw), f"w{place}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{place}"], [f"h{place}"]))
        nodes.append(helper.make_node("Sigmoid", [f"h{place}"], [last := f"a{place}"]))
    return made(nodes, last, (-1, widths[0]), (-1, widths[-1]), constants)


def made(nodes: list, output: str, shape: tuple[int, ...], given: tuple[int, ...], constants: list = []) -> bytes:  # noqa: B006
    """A graph from `x` to one output."""
    tensor = helper.make_tensor_value_info
    x = tensor("x", TensorProto.FLOAT, [None if size == -1 else size for size in shape])
    y = tensor(output, TensorProto.FLOAT, [None if size == -1 else size for size in given])
    graph = helper.make_graph(nodes, "test", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def centred() -> bytes:
    """Less the mean of all rows of the run: nobody's answer is its own."""
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1)
    return made([mean, helper.make_node("Sub", ["x", "m"], ["y"])], "y", (-1, 3), (-1, 3))


def summed() -> bytes:
    """One number for all rows."""
    return made([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], "y", (-1, 3), ())


def upside_down() -> bytes:
    """The rows in the opposite order: as many as went in, and each somebody else's."""
    constants = [numpy_helper.from_array(np.array([n], np.int64), name) for n, name in ((-1, "b"), (-(2**31), "e"))]
    constants += [numpy_helper.from_array(np.array([0], np.int64), "a"), constants[0]]
    constants[-1] = numpy_helper.from_array(np.array([-1], np.int64), "s")
    return made([helper.make_node("Slice", ["x", "b", "e", "a", "s"], ["y"])], "y", (-1, 3), (-1, 3), constants)


def pooled() -> bytes:
    """The mean over an open dimension: the runtime adds up one row in another order than many."""
    return made([helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)], "y", (-1, -1, 64), (-1, 64))


def verdict(raw: bytes, folder: Path, limits: RunLimits, opening: Opening = Opening(), samples: str = "") -> str:
    (folder / "m.onnx").write_bytes(raw)
    return why_alone(Graph("m:1", folder / "m.onnx", opening, limits), samples)


@pytest.mark.parametrize(
    "raw",
    [
        a_boosted_classifier(3, 2).raw,
        a_boosted_vector(20).raw,
        a_network(20, 512, 512, 2),
        a_network(10, 8, 3),
        graphs.a_scorer({"n": 0.5, "m": 2.0}, texts=["t"]).raw,
        *(graphs.an_echo(datatype, (-1, 3)).raw for datatype in ("BYTES", "BOOL", "FP16", "BF16", "INT64", "UINT8")),
    ],
)
def test_rows_that_come_out_the_same_in_any_company_run_together(raw: bytes, tmp_path: Path, limits: RunLimits):
    assert verdict(raw, tmp_path, limits) == ""


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (graphs.a_matrix().raw, "input 'x' (FP32 [2, 3]) has no leading dynamic dimension"),
        (summed(), "output 'y' is [] for 256 rows"),
        (centred(), "output 'y' of a row differs in a run of 1 from a run of 256"),
        (upside_down(), "output 'y' of a row differs in a run of"),
        (graphs.a_picky_scorer().raw, "some numbers of rows fail"),
        (an_endless_loop().raw, "a run of it may take longer than 1 s"),
        (pooled(), "output 'y' of a row differs in a run of 1 from a run of 256"),
    ],
)
def test_others_run_alone_and_the_reason_is_told(raw: bytes, why: str, tmp_path: Path, limits: RunLimits):
    assert why in verdict(raw, tmp_path, limits)


def test_with_two_threads_trees_add_up_in_another_order_and_run_alone(tmp_path: Path, limits: RunLimits):
    why = verdict(a_boosted_vector(20).raw, tmp_path, limits, Opening(intra_op_threads=2))
    assert "output 'probabilities' of a row differs in a run of" in why


def test_large_rows_are_not_tried_for_long(tmp_path: Path, limits: RunLimits):
    flat = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)
    why = verdict(made([flat], "y", (-1, 3, 512, 512), (-1,)), tmp_path, limits)
    assert why.startswith("a row and its answer have 3,145,732 bytes")


def test_the_trial_has_an_end(tmp_path: Path, limits: RunLimits):
    seconds = iter(range(0, 100, 2))
    (tmp_path / "m.onnx").write_bytes(a_network(10, 8, 3))
    graph = Graph("m:1", tmp_path / "m.onnx", Opening(), limits)
    assert why_alone(graph, now=lambda: float(next(seconds))) == "trying it took longer than 5 s"


async def test_the_trial_process_tells_it(tmp_path: Path, limits: RunLimits):
    (tmp_path / "m.onnx").write_bytes(a_network(20, 8, 2))
    async with TrialProcess() as trials:
        engine = OnnxEngine(limits, 2**30, trials)
        assert (await engine.try_out(tmp_path / "m.onnx", Opening(), WarmUp())).alone == ""
        audited = await engine.try_out(tmp_path / "m.onnx", Opening(deterministic=True), WarmUp())
    assert audited.alone == "the deterministic profile gives every request a run of its own"
