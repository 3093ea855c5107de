"""ModelStreamInfer and health per model as callers see them, on both fronts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gyrostat_common import oip, rpc
from gyrostat_front import Server
from gyrostat_inference.domain.live import live_model
from gyrostat_inference.domain.plan import Plan
from support.graphs import a_reshaper, a_scorer
from support.inference import a_request
from support.rest import Doors, doors
from support.waiting import WITHIN_S

GRAPHS = {"flights": a_scorer({"wind": 1.0}), "picky": a_reshaper()}
FRONTS = {"grpcio": rpc.grpcio, "own": Server}


@pytest.fixture(params=list(FRONTS))
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Doors]:
    async with doors(tmp_path, GRAPHS, transport=FRONTS[request.param]) as served:
        yield served


def asked(number: int) -> oip.ModelInferRequest:
    """Every third is one that the service refuses."""
    if number % 3 == 2:
        return a_request("trains", {"wind": [1.0]}, id=str(number))
    return a_request("flights", {"wind": [float(number % 7)]}, id=str(number))


async def test_replies_come_in_order_and_a_request_that_fails_does_not_end_the_stream(served: Doors) -> None:
    async def requests() -> AsyncIterator[oip.ModelInferRequest]:
        for number in range(300):
            yield asked(number)

    replies = [reply async for reply in served.stub.ModelStreamInfer(requests())]
    assert [reply.infer_response.id for reply in replies] == [str(number) for number in range(300)]
    for number, reply in enumerate(replies):
        if number % 3 == 2:
            assert reply.error_message.startswith("no model is named 'trains'; served: ")
        else:
            (scores,) = [oip.outputs_of(reply.infer_response)["probabilities"]]
            assert scores[0, 1] == pytest.approx(1 / (1 + np.exp(-float(number % 7))), abs=1e-6)


async def test_requests_may_be_sent_before_the_first_reply_is_read(served: Doors) -> None:
    call = served.stub.ModelStreamInfer()
    for number in range(10):
        await call.write(asked(number))
    for number in range(10):
        assert (await call.read()).infer_response.id == str(number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_stream_of_thousands_of_messages_does_not_grow(served: Doors) -> None:
    call = served.stub.ModelStreamInfer()
    seen = 0

    async def write(count: int) -> None:
        for number in range(count):
            await call.write(asked(number))

    async def exchange(count: int) -> None:
        nonlocal seen
        writing = asyncio.create_task(write(count))
        for _ in range(count):
            assert await call.read() is not grpc.aio.EOF
            seen += 1
        await writing

    async with asyncio.timeout(4 * WITHIN_S):
        await exchange(1000)
        before = resident_bytes()
        await exchange(5000)
    assert seen == 6000
    assert resident_bytes() - before < 8e6
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_caller_who_goes_in_the_middle_leaves_nothing_behind(served: Doors) -> None:
    call = served.stub.ModelStreamInfer()
    await call.write(asked(0))
    await call.read()
    call.cancel()
    async with asyncio.timeout(WITHIN_S):
        while any("stream" in task.get_name() for task in asyncio.all_tasks()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_health_is_checked_and_watched_for_each_model(served: Doors) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    words = health_pb2.HealthCheckResponse

    async def check(name: str) -> int:
        return (await health.Check(health_pb2.HealthCheckRequest(service=name))).status

    async with asyncio.timeout(WITHIN_S):
        assert await check("") == await check(oip.SERVICE) == await check("flights") == words.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await check("trains")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watching = health.Watch(health_pb2.HealthCheckRequest(service="flights"))
        assert (await watching.read()).status == words.SERVING
        later = health.Watch(health_pb2.HealthCheckRequest(service="trains"))
        assert (await later.read()).status == words.SERVICE_UNKNOWN
        live = served.models.get("flights")
        assert live is not None
        served.models.swap(live_model(Plan("production", "flights", 8), {}, {}))  # retired
        assert (await watching.read()).status == words.NOT_SERVING
        assert await check("flights") == words.NOT_SERVING
        with served.models.being_loaded(Plan("production", "trains", 1), 1):
            assert (await later.read()).status == words.NOT_SERVING
            index = await served.stub.RepositoryIndex(oip.RepositoryIndexRequest())
            states = {(row.name, row.version): row.state for row in index.models}
            assert states["trains", "1"] == "LOADING"
        served.models.swap(live)
        assert (await watching.read()).status == words.SERVING
        watching.cancel()
        later.cancel()


async def test_what_a_version_was_opened_with_is_told(served: Doors) -> None:
    metadata = await served.stub.ModelMetadata(oip.ModelMetadataRequest(name="flights"))
    told = metadata.properties
    assert told["onnxruntime"]
    assert (told["optimization"], told["intra_op_threads"], told["deterministic"]) == ("all", "1", "false")
    config = (await served.stub.ModelConfig(oip.ModelConfigRequest(name="flights"))).config
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.parameters["execution_providers"].string_value == "CPUExecutionProvider"
    about = await served.stub.ServerMetadata(oip.ServerMetadataRequest())
    assert {"binary_tensor_data", "model_configuration", "model_repository", "statistics"} <= set(about.extensions)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name="flights"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "the serving plan decides" in (refused.value.details() or "")
