"""Graphs that mean harm: tried out they are refused in words, at a request they are stopped, and memory comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, RunTooLong
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.trying import TrialProcess
from support.attacks import REFUSED_BY_BOTH, REFUSED_BY_THE_TRIAL, a_blow_up, an_endless_loop
from support.graphs import a_scorer

BAD = {name: (raw, "") for name, raw in REFUSED_BY_BOTH.items()} | REFUSED_BY_THE_TRIAL
ONE = {"x": np.ones((1, 1), np.float32)}
MEMORY_BYTES = 256 * 1024**2


@pytest.fixture
def limits() -> Iterator[RunLimits]:
    with RunLimits(1.0) as limits:
        yield limits


def opened(graph: bytes, folder: Path, limits: RunLimits) -> Graph:
    (folder / "m.onnx").write_bytes(graph)
    return Graph("m:1", folder / "m.onnx", Opening(), limits)


@pytest.mark.parametrize("name", list(BAD))
async def test_a_model_that_attacks_is_refused_with_the_reason(name: str, tmp_path: Path, limits: RunLimits) -> None:
    raw, said = BAD[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(raw)
    with pytest.raises(ModelRefused, match=said or None) as raised:
        async with TrialProcess() as trials:
            await OnnxEngine(limits, MEMORY_BYTES, trials).try_out(path, Opening(), WarmUp())
    assert "its trial process" not in str(raised.value), "a reason, not a crash"


def test_a_run_that_never_ends_is_stopped(tmp_path: Path, limits: RunLimits) -> None:
    graph = opened(an_endless_loop().raw, tmp_path, limits)
    graph.warm()
    with pytest.raises(RunTooLong, match=r"^m:1 did not come to an end with these inputs within 0\.1 s"):
        graph.run(ONE, 0.1)
    with pytest.raises(RunTooLong, match="within 1 s"):
        graph.run(ONE)
    assert graph.run({"x": np.zeros((1, 1), np.float32)})[0].shape == (1, 1), "and it still answers"


def test_a_run_for_which_nobody_waits_is_stopped(tmp_path: Path) -> None:
    gone = threading.Event()
    with RunLimits(60.0) as limits:
        graph = opened(an_endless_loop().raw, tmp_path, limits)
        gone.set()
        began = time.monotonic()
        with pytest.raises(RunTooLong):
            graph.run(ONE, None, gone.is_set)
        assert time.monotonic() - began < 30


GREEDY = """
import os, sys
from pathlib import Path
import numpy as np
from gyrostat_inference.domain.engine_settings import Opening
from gyrostat_inference.domain.errors import ScoringFailed
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits, limit_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
with RunLimits(30.0) as limits:
    limit_memory(256 * 1024**2)
    limit_memory(256 * 1024**2)
    graph = Graph("m:1", Path(sys.argv[1]), Opening(), limits)
    graph.warm()
    before = resident()
    assert graph.run({"n": np.array([40_000_000])})[0].nbytes == 160_000_000
    for count in (10**8, 10**10, 10**13, 2**62, -1):
        try:
            graph.run({"n": np.array([count])})
        except ScoringFailed:
            continue
        sys.exit(f"{count} went through")
    assert resident() - before < 50e6, resident() - before
    assert graph.run({"n": np.array([3])})[0].tolist() == [0.0, 0.0, 0.0]
"""


def test_a_run_that_asks_for_more_memory_than_there_is_fails_alone_and_gives_it_back(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(a_blow_up().raw)
    command = [sys.executable, "-c", GREEDY, str(tmp_path / "m.onnx")]
    child = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert child.returncode == 0, child.stderr[-800:]


FLIPPED = """
import random, sys
from pathlib import Path
from gyrostat_inference.domain.engine_settings import Opening
from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits, limit_memory
whole = open(sys.argv[1], "rb").read()
with RunLimits(5.0) as limits:
    limit_memory(256 * 1024**2)
    for seed in range(300):
        draw = random.Random(seed)
        bad = bytearray(whole[: draw.randrange(1, len(whole))] if seed % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 9)):
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        Path(sys.argv[2]).write_bytes(bad)
        try:
            Graph("m:1", Path(sys.argv[2]), Opening(), limits).warm()
        except (ModelRefused, ScoringFailed, MemoryError, UnicodeError):
            pass
"""


def test_damaged_files_are_opened_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Three hundred files, cut off or with up to eight bits turned, in one child: a crash would be its end."""
    (tmp_path / "whole.onnx").write_bytes(a_scorer({"a": 1.0, "b": -1.0}, texts=["c"]).raw)
    command = [sys.executable, "-c", FLIPPED, str(tmp_path / "whole.onnx"), str(tmp_path / "bad.onnx")]
    child = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=dict(os.environ))
    assert child.returncode == 0, child.stderr[-800:]
