"""The trial process: what a graph does to it, what it costs those who answer beside it, and how long it stays."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import uvloop

from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, RunTooLong
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.trial import NICE
from gyrostat_inference.engine.trying import TrialProcess
from support.attacks import an_endless_loop
from support.graphs import a_scorer
from support.waiting import eventually

Try = Callable[[Path], Awaitable[object]]
Loop = Callable[[], asyncio.AbstractEventLoop]
Story = Callable[[RunLimits, Path, Path], Coroutine[None, None, None]]
MEMORY_BYTES, LONG_S = 2**30, 600.0


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "good.onnx").write_bytes(a_scorer({"n": 0.5}).raw)
    return tmp_path / "good.onnx"


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    (tmp_path / "endless.onnx").write_bytes(an_endless_loop(also_at_zero=True).raw)
    return tmp_path / "endless.onnx"


@pytest.fixture
def limits() -> Iterator[RunLimits]:
    with RunLimits(LONG_S) as limits:
        yield limits


@pytest.fixture
async def trials() -> AsyncIterator[TrialProcess]:
    async with TrialProcess(patience_s=LONG_S) as trials:
        yield trials


async def answering(limits: RunLimits, trials: TrialProcess, good: Path) -> None:
    """The first version is loaded, so that there is somebody to give way to."""
    await trying(limits, trials)(good)
    await eventually(lambda: trials.pid is None, "the process that did not give way has gone")


def trying(limits: RunLimits, trials: TrialProcess) -> Try:
    return lambda path: OnnxEngine(limits, MEMORY_BYTES, trials).try_out(path, Opening(), WarmUp())


async def a_trial_under_way(trials: TrialProcess) -> psutil.Process:
    """The process that has a graph open."""

    def children() -> list[psutil.Process]:
        return psutil.Process(trials.pid).children() if trials.pid else []

    return (await eventually(children, "a trial under way"))[0]  # type: ignore[index]


async def test_it_works_while_nobody_else_wants_the_processor(
    endless: Path, good: Path, limits: RunLimits, trials: TrialProcess
):
    await answering(limits, trials, good)
    trial = asyncio.ensure_future(trying(limits, trials)(endless))
    child = await a_trial_under_way(trials)
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
    child.kill()
    with pytest.raises(ModelRefused, match="its trial process was killed by signal 9"):
        await trial


async def test_the_first_one_has_nobody_to_give_way_to(endless: Path, limits: RunLimits, trials: TrialProcess):
    trial = asyncio.ensure_future(trying(limits, trials)(endless))
    child = await a_trial_under_way(trials)
    assert os.sched_getscheduler(child.pid) == os.SCHED_OTHER
    trial.cancel()
    await asyncio.wait([trial])


async def test_one_that_gets_nothing_for_too_long_begins_again_and_gets_a_share(
    endless: Path, good: Path, limits: RunLimits
):
    async with TrialProcess(patience_s=0.0) as trials:
        await answering(limits, trials, good)
        trial = asyncio.ensure_future(trying(limits, trials)(endless))
        child = await a_trial_under_way(trials)
        assert os.sched_getscheduler(child.pid) == os.SCHED_OTHER
        assert child.nice() == min(psutil.Process().nice() + NICE, 19)
        trial.cancel()
        await asyncio.wait([trial])


async def test_a_graph_that_crashes_takes_its_own_trial_along_and_the_next_one_finds_it_warm(
    endless: Path, good: Path, limits: RunLimits, trials: TrialProcess
):
    await answering(limits, trials, good)
    trial = asyncio.ensure_future(trying(limits, trials)(endless))
    child, warm = await a_trial_under_way(trials), trials.pid
    child.send_signal(signal.SIGSEGV)
    with pytest.raises(ModelRefused, match="its trial process was killed by signal 11"):
        await trial
    await trying(limits, trials)(good)
    assert trials.pid == warm


async def _killed_while_idle(limits: RunLimits, good: Path, _: Path) -> None:
    async with TrialProcess(patience_s=LONG_S) as trials:
        await trying(limits, trials)(good)
        assert trials.pid is not None
        killed = trials.pid
        os.kill(killed, signal.SIGKILL)
        await trying(limits, trials)(good)
        assert trials.pid not in (None, killed)


async def _killed_under_a_trial(limits: RunLimits, good: Path, endless: Path) -> None:
    async with TrialProcess(patience_s=LONG_S) as trials:
        await answering(limits, trials, good)
        trial = asyncio.ensure_future(trying(limits, trials)(endless))
        child, killed = await a_trial_under_way(trials), trials.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: trials.pid not in (None, killed) and not child.is_running())
        trial.cancel()
        await asyncio.wait([trial])


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("killed", [_killed_while_idle, _killed_under_a_trial])
def test_when_it_is_killed_another_one_is_asked(
    loop: Loop, killed: Story, good: Path, endless: Path, limits: RunLimits
):
    """The service runs on uvloop, whose pipes end in other words than asyncio's."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(killed(limits, good, endless))


async def test_it_goes_when_nothing_comes_any_more(good: Path, limits: RunLimits):
    async with TrialProcess(keep_s=0.01) as trials:
        await trying(limits, trials)(good)
        await eventually(lambda: trials.pid is None)
        await trying(limits, trials)(good)


async def test_it_ends_with_the_service_and_so_does_a_trial_under_way(endless: Path, limits: RunLimits):
    async with TrialProcess(patience_s=LONG_S) as trials:
        trial = asyncio.ensure_future(trying(limits, trials)(endless))
        child = await a_trial_under_way(trials)
        trial.cancel()
        await asyncio.wait([trial])
    await eventually(lambda: not child.is_running())


async def test_its_limit_is_of_the_processors_time(endless: Path, limits: RunLimits):
    async with TrialProcess(cpu_s=1) as trials:
        with pytest.raises(ModelRefused, match="more than 1 s of the processor"):
            await trying(limits, trials)(endless)


async def test_by_the_clock_there_is_a_limit_too(endless: Path, limits: RunLimits):
    async with TrialProcess(wall_s=0.2) as trials:
        with pytest.raises(ModelRefused, match=r"took more than 0\.2 s"):
            await trying(limits, trials)(endless)


def test_a_run_is_not_too_long_while_the_time_that_counts_stands_still(endless: Path):
    looks = iter(range(10))

    def asked_ten_times() -> bool:
        return next(looks, None) is None

    with RunLimits(0.01, now=lambda: 7.0) as limits:
        graph = Graph("m:1", endless, Opening(), limits)
        with pytest.raises(RunTooLong):
            graph.run({"x": np.ones((1, 1), np.float32)}, None, asked_ten_times)
    assert next(looks, None) is None, "nobody waited any more, and only that stopped it"
