"""What a caller is told when a call does not go well."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gyrostat_common import oip
from gyrostat_common.rpc.context import MAX_MESSAGE_BYTES
from support.echo import ABORTED_TEXT, NAME, a_request, an_echo

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def raw_call(channel: Any, path: str) -> Any:
    """A callable whose messages are bytes."""
    return channel.unary_unary(path)


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_error_of_ours_comes_with_reason_and_details(stub: oip.Stub):
    error = await failed(stub.ModelInfer(a_request("refused")))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "one: not to be echoed")
    trailers = dict(error.trailing_metadata())
    assert trailers["error-reason"] == "NotToBeEchoed"
    rich, info = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]), error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info)
    assert (rich.code, rich.message, info.domain) == (3, "one: not to be echoed", "gyrostat.dev")


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_every_code_arrives_with_its_text_and_trailers(stub: oip.Stub, code: grpc.StatusCode):
    error = await failed(stub.ModelInfer(a_request("code", code=code.value[0])))
    assert (error.code(), error.details()) == (code, ABORTED_TEXT)
    trailers = dict(error.trailing_metadata())
    assert (trailers["echo-word"], trailers["echo-bytes-bin"]) == ("why", bytes(range(256)))


async def test_a_bug_tells_nothing_and_the_next_call_is_answered(stub: oip.Stub):
    error = await failed(stub.ModelInfer(a_request("bug")))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_a_status_may_be_set_without_an_exception(stub: oip.Stub):
    error = await failed(stub.ModelInfer(a_request("status", code=5)))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "as set")


@pytest.mark.parametrize("path", [f"/{NAME}/ModelSing", "/nobody.Knows/This", "/"], ids=["method", "service", "root"])
async def test_what_nobody_serves_is_unimplemented(channel: grpc.aio.Channel, path: str):
    error = await failed(raw_call(channel, path)(b"anything"))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_that_the_servicer_lacks_is_unimplemented(stub: oip.Stub):
    error = await failed(stub.ModelConfig(oip.ModelConfigRequest()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_bytes_that_are_no_message_fail_that_call_alone(channel: grpc.aio.Channel, stub: oip.Stub):
    error = await failed(raw_call(channel, f"/{NAME}/ModelInfer")(b"\xff\xff\xff"))
    assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN)
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_a_message_that_is_too_large_is_refused_and_the_next_call_answered(stub: oip.Stub):
    error = await failed(stub.ModelInfer(an_echo(bytes(MAX_MESSAGE_BYTES + 1)), timeout=60))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_a_reply_that_is_too_large_is_not_sent(stub: oip.Stub):
    error = await failed(stub.ModelInfer(a_request("size", bytes=MAX_MESSAGE_BYTES + 1), timeout=60))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live
