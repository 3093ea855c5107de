"""Models that mean harm, in a running service: the others answer meanwhile, and afterwards all is as it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from gyrostat_common import oip
from gyrostat_common.settings import KafkaSettings
from support.attacks import REFUSED_BY_THE_TRIAL, a_blow_up, an_endless_loop
from support.graphs import GraphFile, a_plan, an_echo
from support.inference import Caller, Place, a_request, a_service

ECHO, ENDLESS, GREEDY = an_echo("FP32", (-1, 1)), an_endless_loop(), a_blow_up()
STUCK = GraphFile(REFUSED_BY_THE_TRIAL["never ends when warmed"][0], ECHO.inputs, ECHO.outputs)
ONE = {"x": np.ones((1, 1), np.float32)}


@pytest.fixture
async def caller(fresh_kafka: KafkaSettings, tmp_path: Path) -> AsyncIterator[Caller]:
    options = {"longest_run_s": 2, "model_memory_bytes": 256 * 1024**2}
    place = Place(tmp_path, fresh_kafka, options=options)
    await place.store(ECHO, ENDLESS, GREEDY, STUCK)
    async with a_service(place) as caller:
        await caller.plan(a_plan("echo", 1, ECHO.planned(1)))
        yield caller


async def test_runs_that_never_end_hold_up_no_other_model(caller: Caller):
    await caller.plan(a_plan("endless", 1, ENDLESS.planned(1), fallback=ECHO.planned(2)))
    await caller.plan(a_plan("alone", 1, ENDLESS.planned(1)))
    hanging = [asyncio.create_task(caller.infer("alone", ONE)) for _ in range(8)]
    for _ in range(20):
        assert (await caller.infer("echo", ONE)).model_version == "1"
        assert (await caller.stub.ServerReady(oip.ServerReadyRequest(), timeout=20)).ready
    for each in await asyncio.gather(*hanging, return_exceptions=True):
        assert isinstance(each, grpc.aio.AioRpcError)
        assert each.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert each.details() == "alone:1 did not come to an end with these inputs within 2 s and was stopped"
    assert (await caller.infer("endless", ONE)).parameters["gyrostat_variant"].string_param == "fallback"
    assert (await caller.infer("alone", {"x": np.zeros((1, 1), np.float32)})).model_version == "1"


async def test_a_request_that_asks_for_too_much_memory_fails_alone(caller: Caller):
    await caller.plan(a_plan("greedy", 1, GREEDY.planned(1)))
    for count in (10**9, 10**12, 2**62):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await caller.infer("greedy", {"n": np.array([count])})
        assert str(raised.value.details()).startswith("greedy:1 could not score these inputs")
    with pytest.raises(grpc.aio.AioRpcError, match="greedy:1 answers 160000000 bytes to these inputs; at most"):
        await caller.infer("greedy", {"n": np.array([40_000_000])})
    assert (await caller.infer("greedy", {"n": np.array([2])})).outputs[0].shape == [2]
    assert (await caller.infer("echo", ONE)).model_version == "1"


async def test_a_model_that_hangs_when_it_is_warmed_leaves_the_old_one_answering(caller: Caller):
    await caller.plan(a_plan("echo", 2, STUCK.planned(2)), applied=False)
    beat = await caller.heartbeat(lambda b: any(v.version == 2 for v in b.versions))
    [version] = [v for v in beat.versions if v.version == 2]
    assert not version.loaded
    assert version.reason == "the model did not come to an end with these inputs within 2 s and was stopped"
    assert (await caller.infer("echo", ONE)).model_version == "1"


async def test_a_run_ends_with_the_call_that_asked_for_it(fresh_kafka: KafkaSettings, tmp_path: Path):
    place = Place(tmp_path, fresh_kafka, options={"longest_run_s": 3600})
    await place.store(ENDLESS)
    async with a_service(place) as caller:
        await caller.plan(a_plan("endless", 1, ENDLESS.planned(1)))
        calls = [caller.stub.ModelInfer(a_request("endless", ONE), timeout=1) for _ in range(2 * (os.cpu_count() or 1))]
        for each in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(each, grpc.aio.AioRpcError)
            assert each.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        fine = await caller.infer("endless", {"x": np.zeros((1, 1), np.float32)})
        assert fine.model_version == "1", "its threads are free again"
