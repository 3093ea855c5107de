"""Graphs opened as the ModelSpec says: threads, optimisation, providers, samples, and the profile for audits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2
from gyrostat_inference.domain.engine_settings import EngineSettings, Opening, Optimization, WarmUp
from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.trying import TrialProcess
from gyrostat_inference.events.plans import plan_of
from support.graphs import GraphFile, a_reshaper, a_scorer

MEMORY_BYTES = 256 * 1024**2
SCORER = a_scorer({f"x{n}": (-1) ** n / (n + 1) for n in range(40)}, bias=0.1)


@pytest.fixture
def limits() -> Iterator[RunLimits]:
    with RunLimits(5.0) as limits:
        yield limits


def written(graph: GraphFile, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(graph.raw)
    return path


def planned(engine: model_pb2.EngineSettings) -> EngineSettings:
    return plan_of(pb.ServingPlan(model="m", spec=model_pb2.ModelSpec(engine=engine))).spec.engine


def test_an_empty_spec_opens_as_before() -> None:
    assert planned(model_pb2.EngineSettings()) == EngineSettings()


@pytest.mark.parametrize("level", [5, -1, -(2**31)])
def test_a_level_that_this_release_does_not_know_is_all(level: Any) -> None:
    assert planned(model_pb2.EngineSettings(optimization=level)).opening.optimization is Optimization.ALL


def test_what_the_plan_says_is_what_the_session_is_made_with(tmp_path: Path, limits: RunLimits) -> None:
    wanted = planned(
        model_pb2.EngineSettings(
            intra_op_threads=2, inter_op_threads=3, optimization="GRAPH_OPTIMIZATION_EXTENDED",
            execution_providers=["NoneSuchExecutionProvider", "CPUExecutionProvider"],
        )
    )  # fmt: skip
    graph = Graph("m:1", written(SCORER, tmp_path), wanted.opening, limits)
    facts = graph.facts
    assert (facts["intra_op_threads"], facts["inter_op_threads"], facts["optimization"]) == ("2", "3", "extended")
    assert facts["execution_providers"] == "CPUExecutionProvider"
    assert facts["execution_providers_absent"] == "NoneSuchExecutionProvider"
    assert facts["deterministic"] == "false"


AUDIT = """
import sys
from pathlib import Path
import numpy as np
from gyrostat_inference.domain.engine_settings import Opening, Optimization
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.graph import Graph
draw = np.random.default_rng(7)
inputs = {f"x{n}": draw.normal(size=(500, 1)).astype(np.float32) for n in range(40)}
with RunLimits(5.0) as limits:
    opening = Opening(1, 1, Optimization["basic".upper()], ("CPUExecutionProvider",), True)
    print(Graph("m:1", Path(sys.argv[1]), opening, limits).run(inputs)[0].tobytes().hex())
"""


def rows(count: int) -> dict[str, Any]:
    draw = np.random.default_rng(7)
    return {f"x{n}": draw.normal(size=(count, 1)).astype(np.float32) for n in range(40)}


def test_the_profile_for_audits_wins_over_the_fields_beside_it_and_repeats_to_the_bit(
    tmp_path: Path, limits: RunLimits
) -> None:
    wanted = planned(
        model_pb2.EngineSettings(
            deterministic=True, intra_op_threads=8, inter_op_threads=8, optimization="GRAPH_OPTIMIZATION_ALL",
            execution_providers=["CUDAExecutionProvider"],
            batching=model_pb2.Batching(max_delay_us=500, max_batch_rows=64),
        )
    )  # fmt: skip
    assert wanted.opening == Opening(1, 1, Optimization.BASIC, (), True)
    assert (wanted.batching.off, wanted.batching.max_delay_us) == (True, 0)
    path, inputs = written(SCORER, tmp_path), rows(500)
    answers = set()
    for _ in range(3):
        graph = Graph("m:1", path, wanted.opening, limits)
        answers |= {graph.run(inputs)[0].tobytes() for _ in range(5)}
    assert len(answers) == 1
    assert graph.facts["deterministic"] == "true"
    again = subprocess.run([sys.executable, "-c", AUDIT, str(path)], capture_output=True, timeout=100, check=True)
    assert bytes.fromhex(again.stdout.decode()) in answers, "another process, by what the metadata says"


def sample(*values: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(values)], "data": list(values)}]}


@pytest.fixture
async def engine(limits: RunLimits) -> AsyncIterator[OnnxEngine]:
    async with TrialProcess() as trials:
        yield OnnxEngine(limits, MEMORY_BYTES, trials)


async def test_a_graph_that_takes_no_zeros_is_warmed_by_its_own_samples(tmp_path: Path, engine: OnnxEngine) -> None:
    path = written(a_reshaper(), tmp_path)
    with pytest.raises(ModelRefused, match="could not score"):
        await engine.try_out(path, Opening(), WarmUp())
    samples = WarmUp((3, 6), json.dumps([sample(1, 2, 3)]))
    assert (await engine.try_out(path, Opening(), samples)).signature.inputs[0].name == "x"
    opened = await engine.open("m:1", path, Opening(), samples)
    assert opened.facts["warm_up"] == "1 samples"
    with pytest.raises(ModelRefused, match="could not score"):
        await engine.try_out(path, Opening(), WarmUp((4,), json.dumps(sample(1, 2, 3))))


async def test_samples_that_do_not_fit_are_said_and_hold_nothing_up(tmp_path: Path, engine: OnnxEngine) -> None:
    path = written(SCORER, tmp_path)
    wrong = WarmUp((1, 64), json.dumps(sample(1.0)))
    await engine.try_out(path, Opening(), wrong)
    opened = await engine.open("m:1", path, Opening(), wrong)
    assert opened.facts["warm_up"] == "zeros"
    assert opened.facts["warm_up_problem"] == ("left out: sample 1: input 'x0' (FP32 [-1, 1]) is missing; got 'x'")
