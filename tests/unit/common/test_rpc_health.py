"""What a server says of its process: before it opens, while it serves, when something is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1 import registry_pb2_grpc as stubs
from gyrostat_common import rpc
from gyrostat_common.health import Health, Report
from support.calls import NAME, Registry


@asynccontextmanager
async def asking(folder: Path, health: Health) -> AsyncIterator[tuple[grpc.aio.Channel, rpc.Server]]:
    async with (
        rpc.listen(f"unix:{folder}/rpc.sock", health) as server,
        grpc.aio.insecure_channel(f"unix:{folder}/rpc.sock") as channel,
    ):
        yield channel, server


async def test_health_is_the_truth_of_the_process(tmp_path: Path) -> None:
    health, ready, alarmed = Health(), [""], [""]
    health.need(lambda: ready[0])
    health.alarm("consumer", lambda: alarmed[0])
    registry = rpc.Service(Registry(), stubs.add_RegistryServiceServicer_to_server, NAME)
    async with asking(tmp_path, health) as (channel, server):
        assert await rpc.ask_health(channel) == Report("it is starting")
        async with server.serving([registry]):
            assert await rpc.ask_health(channel) == Report()
            alarmed[0] = "stopped at offset 7: ÄÖ"
            report = await rpc.ask_health(channel)
            assert (report.word, report.problems) == ("alarmed", {"consumer": "stopped at offset 7: ÄÖ"})
            ready[0] = "no champion is loaded"
            report = await rpc.ask_health(channel)
            assert (report.word, report.reason) == ("not serving", "no champion is loaded")
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=NAME))
            assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_who_watches_is_told_of_models_too(tmp_path: Path) -> None:
    health, models = Health(), dict[str, bool]()
    health.parts(lambda: models)
    async with asking(tmp_path, health) as (channel, server), server.serving([]):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="flights"))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        models["flights"] = True
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        models.clear()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()


async def test_no_call_is_let_in_before_the_opening_or_after_the_close(tmp_path: Path) -> None:
    registry = Registry()
    async with asking(tmp_path, Health()) as (channel, server):
        calls = stubs.RegistryServiceStub(channel)
        for call in (calls.CreateModel(pb.CreateModelRequest()), calls.UploadArtifact(iter([]))):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert refused.value.details() == "not now: it is starting"
        async with server.serving([rpc.Service(registry, stubs.add_RegistryServiceServicer_to_server, NAME)]):
            await calls.CreateModel(pb.CreateModelRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await calls.CreateModel(pb.CreateModelRequest())
    assert len(registry.calls) == 1


async def test_a_source_that_fails_is_a_problem_and_hides_no_other(tmp_path: Path) -> None:
    def broken() -> str:
        raise KeyError("x")

    health = Health()
    health.alarm("broken", broken)
    health.alarm("kafka", lambda: "away")
    health.opened()
    assert health.look().problems == {"health": "a part cannot be asked: KeyError('x')", "kafka": "away"}
