"""A version is tried once for all workers of a replica."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gyrostat_inference.domain.batching import Trial
from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.domain.live import Scorer
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.store.trials import SharedTrials, clear_trials
from support.waiting import eventually

X = TensorSpec("x", "FP32", (-1, 20))
SAID = Trial(Signature((X,), (TensorSpec("y", "BYTES", ()),)), "input 'x' mixes its rows")
GRAPH = Path("/cache/artifacts/0f" * 3)


@dataclass
class Trier:
    """An engine that says the same of every graph, when it may."""

    refuses: str = ""
    may: asyncio.Event = field(default_factory=asyncio.Event)
    tried: list[Opening] = field(default_factory=list)

    async def try_out(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial:
        self.tried.append(opening)
        await self.may.wait()
        if self.refuses:
            raise ModelRefused(self.refuses)
        return SAID

    async def open(self, name: str, path: Path, opening: Opening, warm_up: WarmUp) -> Scorer:
        raise NotImplementedError


async def test_workers_that_come_together_share_one_trial_and_so_do_those_that_come_later(tmp_path: Path):
    engine = Trier()
    both = [SharedTrials(engine, tmp_path / "trials") for _ in range(2)]
    asked = [asyncio.create_task(one.try_out(GRAPH, Opening(), WarmUp())) for one in both]
    await asyncio.sleep(0)
    engine.may.set()
    assert await asyncio.gather(*asked) == [SAID, SAID]
    assert await SharedTrials(engine, tmp_path / "trials").try_out(GRAPH, Opening(), WarmUp()) == SAID
    assert len(engine.tried) == 1
    clear_trials(tmp_path / "trials")
    assert await both[0].try_out(GRAPH, Opening(), WarmUp()) == SAID
    assert len(engine.tried) == 2


async def test_another_way_to_open_it_is_another_trial(tmp_path: Path):
    engine = Trier()
    engine.may.set()
    trials = SharedTrials(engine, tmp_path)
    for opening in (Opening(), Opening(intra_op_threads=2)):
        await trials.try_out(GRAPH, opening, WarmUp())
    await trials.try_out(GRAPH, Opening(), WarmUp(rows=(8,)))
    await trials.try_out(GRAPH.with_name("other"), Opening(), WarmUp())
    assert len(engine.tried) == 4


def said(folder: Path) -> Path:
    return next(folder.glob("*.json"))


async def test_a_refusal_holds_for_a_moment(tmp_path: Path):
    engine, late = Trier(refuses="it crashed"), [0.0]
    engine.may.set()
    now = SharedTrials(engine, tmp_path)
    later = SharedTrials(engine, tmp_path, lambda: late[0])
    for _ in range(2):
        with pytest.raises(ModelRefused, match="it crashed"):
            await now.try_out(GRAPH, Opening(), WarmUp())
    assert len(engine.tried) == 1
    late[0] = said(tmp_path).stat().st_mtime + 4.0
    engine.refuses = ""
    assert await later.try_out(GRAPH, Opening(), WarmUp()) == SAID


async def test_what_is_damaged_is_tried_anew_and_a_dead_worker_holds_no_lock(tmp_path: Path):
    engine = Trier()
    trials = SharedTrials(engine, tmp_path)
    dead = asyncio.create_task(trials.try_out(GRAPH, Opening(), WarmUp()))
    await eventually(lambda: engine.tried)
    dead.cancel()
    await asyncio.gather(dead, return_exceptions=True)
    engine.may.set()
    await trials.try_out(GRAPH, Opening(), WarmUp())
    said(tmp_path).write_bytes(b"{half")
    assert await trials.try_out(GRAPH, Opening(), WarmUp()) == SAID
    assert len(engine.tried) == 3
