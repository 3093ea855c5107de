"""The two services that every server of ours has."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from support.echo import BYTES, NAME
from support.fronts import Running

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_check_answers_for_the_server_and_each_service(channel: grpc.aio.Channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", NAME, BYTES):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_hears_of_every_change_and_ends_with_its_reader(server: Running, channel: grpc.aio.Channel):
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert (await watch.read()).status == SERVING
    async with asyncio.timeout(30):
        server.health.closing()
        assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_fifty_watches_on_one_connection(server: Running, channel: grpc.aio.Channel):
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service="")) for _ in range(50)]
    assert [(await watch.read()).status for watch in watches] == [SERVING] * 50
    async with asyncio.timeout(30):
        server.health.closing()
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 50


async def test_reflection_lists_and_describes(channel: grpc.aio.Channel):
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{NAME}.ModelInfer"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{NAME}.ModelSing"),
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    listed, described, by_method, missing = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {NAME, BYTES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in described.file_descriptor_response.file_descriptor_proto
    ]
    methods = {f"{file.package}.{one.name}": [m.name for m in one.method] for file in files for one in file.service}
    assert "ModelInfer" in methods[NAME]
    assert by_method.file_descriptor_response == described.file_descriptor_response
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
