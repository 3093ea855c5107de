"""Calls and answers between a real server and a real client, over a UNIX socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1 import registry_pb2_grpc as stubs
from gyrostat_common import rpc, telemetry
from gyrostat_common.errors import (
    AlreadyExists,
    CannotStart,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
    WrongState,
)
from support.calls import NAME, Registry, calling, serving
from support.spans import recorded
from support.waiting import eventually


class VersionArchived(WrongState):
    """An error of some domain."""


ERRORS = [
    (InvalidInput("no such dtype"), grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound("flights:9 does not exist"), grpc.StatusCode.NOT_FOUND),
    (AlreadyExists("flights is there"), grpc.StatusCode.ALREADY_EXISTS),
    (VersionArchived("flights:3 is archived"), grpc.StatusCode.FAILED_PRECONDITION),
    (Overloaded("no room"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable("the store is away"), grpc.StatusCode.UNAVAILABLE),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_our_errors_become_statuses_by_kind(tmp_path: Path, error: Exception, code: grpc.StatusCode) -> None:
    registry = Registry()
    registry.errors = [error]
    async with calling(tmp_path, registry, tries=1) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="m"))
    trailers = dict(caught.value.trailing_metadata())
    assert (caught.value.code(), caught.value.details()) == (code, str(error))
    assert trailers["error-reason"] == type(error).__name__
    rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info)
    assert (rich.code, rich.message, info.domain) == (code.value[0], str(error), "gyrostat.dev")
    assert info.reason == error.reason


async def test_who_is_told_to_come_back_is_told_when(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [Overloaded("no room", retry_after_s=0.25)]
    async with calling(tmp_path, registry, tries=1) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="m"))
    trailers = dict(caught.value.trailing_metadata())
    assert trailers["grpc-retry-pushback-ms"] == "250"
    rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    hint = error_details_pb2.RetryInfo()
    assert rich.details[1].Unpack(hint)
    assert hint.retry_delay.ToMilliseconds() == 250


async def test_a_bug_tells_the_caller_nothing(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [KeyError("secret")]
    async with calling(tmp_path, registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="m"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_the_callees_error_comes_back_as_our_kind(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [VersionArchived("flights:3 is archived")]
    async with calling(tmp_path, registry) as stub:
        with pytest.raises(WrongState, match="flights:3 is archived"), rpc.as_errors():
            await stub.GetModel(pb.GetModelRequest(name="m"))


@pytest.mark.parametrize(
    ("method", "request_message", "calls"),
    [
        ("GetModel", pb.GetModelRequest(name="m"), 3),
        ("CreateModel", pb.CreateModelRequest(request_id="r-1"), 3),
        ("CreateModel", pb.CreateModelRequest(), 1),
    ],
    ids=["a read", "with a request id", "without"],
)
async def test_only_what_is_safe_is_repeated(tmp_path: Path, method: str, request_message: Any, calls: int) -> None:
    registry = Registry()
    registry.errors = [Unavailable("away"), Unavailable("away")]
    async with calling(tmp_path, registry) as stub:
        call = getattr(stub, method)(request_message)
        if calls == 1:
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        else:
            await call
    assert len(registry.calls) == calls


async def test_only_unavailable_is_repeated(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [Overloaded("no room")]
    async with calling(tmp_path, registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetModel(pb.GetModelRequest(name="m"))
    assert len(registry.calls) == 1


async def test_repeats_end(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [Unavailable("away")] * 100
    async with calling(tmp_path, registry, tries=4) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="m"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(registry.calls) == 4


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async with rpc.connect(f"unix:{tmp_path}/nobody.sock", first_delay_s=0.001) as channel:
        with pytest.raises(Unavailable), rpc.as_errors():
            await stubs.RegistryServiceStub(channel).GetModel(pb.GetModelRequest(name="m"), timeout=5)


async def test_every_call_has_a_deadline(tmp_path: Path) -> None:
    registry = Registry()
    registry.hold.clear()
    async with calling(tmp_path, registry, timeout_s=0.2) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="m"))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        registry.hold.set()
        await stub.GetModel(pb.GetModelRequest(name="m"), timeout=30)
    assert 20 < registry.seen["left"] <= 31


async def test_a_call_inside_a_call_gets_what_is_left(tmp_path: Path) -> None:
    inner = Registry()
    (tmp_path / "inner").mkdir()
    (tmp_path / "outer").mkdir()
    async with calling(tmp_path / "inner", inner, timeout_s=60) as inner_stub:

        class Passing(Registry):
            async def GetModel(self, request: Any, context: Any) -> Any:
                return await inner_stub.GetModel(request)

        async with calling(tmp_path / "outer", Passing()) as stub:
            await stub.GetModel(pb.GetModelRequest(name="m"), timeout=5)
    assert 0 < inner.seen["left"] <= 6


async def test_the_actor_travels(tmp_path: Path) -> None:
    registry = Registry()
    async with calling(tmp_path, registry, actor="anna") as stub:
        await stub.GetModel(pb.GetModelRequest(name="m"))
        assert registry.seen["actor"] == "anna"
        await stub.GetModel(pb.GetModelRequest(name="m"), metadata=(("gyrostat-actor", "ben"),))
        assert registry.seen["actor"] == "ben"
        twice = (("gyrostat-actor", "eve"), ("gyrostat-actor", "ben"))
        await stub.GetModel(pb.GetModelRequest(name="m"), metadata=twice)
        assert registry.seen["actor"] == "eve", "of a name that comes twice, the first"
    assert rpc.actor() == "anonymous"


async def test_a_stranger_is_anonymous(tmp_path: Path) -> None:
    registry = Registry()
    async with serving(tmp_path, registry) as (address, _), grpc.aio.insecure_channel(address) as channel:
        await stubs.RegistryServiceStub(channel).GetModel(pb.GetModelRequest(name="m"))
    assert registry.seen["actor"] == "anonymous"


async def test_a_sampled_call_is_one_trace_on_both_sides(tmp_path: Path) -> None:
    registry = Registry()
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    with recorded() as spans:
        async with calling(tmp_path, registry) as stub:
            with telemetry.span("caller", traceparent=caller):
                await stub.GetModel(pb.GetModelRequest(name="m"))
    server, client, outermost = spans.finished()
    assert {one.context.trace_id for one in (server, client, outermost)} == {int("a" * 32, 16)}
    assert server.parent.span_id == client.context.span_id
    assert client.parent.span_id == outermost.context.span_id
    assert dict(server.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": NAME,
        "rpc.method": "GetModel",
        "rpc.grpc.status_code": 0,
    }


async def test_a_sampled_stream_is_one_span(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [NotFound("no such artifact")]
    caller = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),)
    with recorded() as spans:
        async with calling(tmp_path, registry) as stub:
            with pytest.raises(NotFound), rpc.as_errors():
                [piece async for piece in stub.DownloadArtifact(pb.DownloadArtifactRequest(), metadata=caller)]
    [span] = spans.finished()
    assert registry.seen["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert span.attributes["error.type"] == "NotFound"


async def test_an_unsampled_callers_trace_is_passed_on(tmp_path: Path) -> None:
    registry = Registry()
    caller = f"00-{'a' * 32}-{'b' * 16}-00"
    async with calling(tmp_path, registry) as stub:
        await stub.GetModel(pb.GetModelRequest(name="m"), metadata=(("traceparent", caller),))
    assert registry.seen["traceparent"] == caller


async def test_streams_go_through_in_both_directions(tmp_path: Path) -> None:
    registry = Registry()
    async with calling(tmp_path, registry) as stub:
        await stub.UploadArtifact(pb.UploadArtifactRequest(chunk=b"x") for _ in range(3))
        assert [piece.chunk for piece in registry.calls[0]] == [b"x"] * 3
        download = stub.DownloadArtifact(pb.DownloadArtifactRequest())
        assert [piece.chunk async for piece in download] == [b"one", b"two"]
    assert registry.seen["actor"] == "gyrostat"


async def test_a_stream_that_fails_says_why(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [NotFound("no such artifact"), VersionArchived("archived")]
    async with calling(tmp_path, registry) as stub:
        with pytest.raises(NotFound, match="no such artifact"), rpc.as_errors():
            [piece async for piece in stub.DownloadArtifact(pb.DownloadArtifactRequest())]
        with pytest.raises(WrongState, match="archived"), rpc.as_errors():
            await stub.UploadArtifact(iter([pb.UploadArtifactRequest()]))


async def test_a_stream_that_its_reader_leaves_is_ended(tmp_path: Path) -> None:
    registry = Registry()
    registry.hold.clear()
    async with calling(tmp_path, registry) as stub:
        download = stub.DownloadArtifact(pb.DownloadArtifactRequest())
        assert (await download.read()).chunk == b"one"
        download.cancel()
    assert rpc.actor() == "anonymous"


async def test_both_streaming_goes_through(tmp_path: Path) -> None:
    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request + rpc.actor().encode()
        raise NotFound("the end")

    def add(servicer: Any, server: Any) -> None:
        handlers = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))

    address = f"unix:{tmp_path}/echo.sock"
    async with rpc.serve(address, [rpc.Service(None, add, "test.Echo")]), rpc.connect(address, actor="x") as channel:
        stream: Any = channel.stream_stream
        call = stream("/test.Echo/Echo")(iter([b"a", b"b"]))
        assert [await call.read(), await call.read()] == [b"ax", b"bx"]
        with pytest.raises(NotFound), rpc.as_errors():
            await call.read()


async def test_reflection_shows_private_pools_too(tmp_path: Path) -> None:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="private.proto",
            package="private",
            service=[descriptor_pb2.ServiceDescriptorProto(name="Service")],
        )
    )
    async with (
        serving(tmp_path, Registry(), pools=[pool]) as (address, _),
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="private.Service"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME),
        ]
        replies = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
    assert NAME in [service.name for service in replies[0].list_services_response.service]
    for reply, name in ((replies[1], "private.proto"), (replies[2], "gyrostat/registry/v1/registry.proto")):
        first = reply.file_descriptor_response.file_descriptor_proto[0]
        assert descriptor_pb2.FileDescriptorProto.FromString(first).name == name


async def test_calls_in_flight_are_finished_at_the_end(tmp_path: Path) -> None:
    registry = Registry()
    registry.hold.clear()
    async with rpc.connect(f"unix:{tmp_path}/rpc.sock") as channel:
        async with serving(tmp_path, registry):
            call = stubs.RegistryServiceStub(channel).GetModel(pb.GetModelRequest(name="m"))
            await eventually(lambda: registry.calls)
            asyncio.get_running_loop().call_later(0.05, registry.hold.set)
        assert (await call).model.name == "m"


async def test_a_taken_address_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"cannot listen on unix:/no/such/folder.*choose another"):
        async with rpc.serve("unix:/no/such/folder/x.sock", []):
            pass


async def test_an_error_that_quotes_something_endless_arrives_with_its_own_status(tmp_path: Path) -> None:
    registry = Registry()
    registry.errors = [NotFound(f"there is no model {'ä' * 100_000}; `models list` shows them")]
    async with calling(tmp_path, registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetModel(pb.GetModelRequest(name="x"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    details = refused.value.details() or ""
    assert details.startswith("there is no model ä")
    assert details.endswith("ä; `models list` shows them")
    assert len(details) < 1100


async def test_a_burst_of_calls_is_answered_to_the_last(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/burst.sock"
    async with rpc.serve(address, []), grpc.aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        found = await asyncio.gather(*(check(health_pb2.HealthCheckRequest()) for _ in range(4000)))
    assert {reply.status for reply in found} == {health_pb2.HealthCheckResponse.SERVING}
