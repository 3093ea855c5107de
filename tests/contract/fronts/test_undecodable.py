"""What cannot be read is its caller's fault, in the same words on every front and way through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from gyrostat_common import oip
from support import http2
from support.echo import NAME, an_echo
from support.fronts import Running
from support.http2 import call

JUNK = b"\xff\xff\xff\xff"


async def outcome(call: Any) -> tuple[grpc.StatusCode, str, dict[str, object]]:
    return await call.code(), await call.details(), dict(await call.trailing_metadata())


@pytest.mark.parametrize("method", ["ModelInfer", "ServerMetadata"])
async def test_a_message_that_is_none_is_named_and_refused(channel: Any, method: str):
    code, details, trailing = await outcome(channel.unary_unary(f"/{NAME}/{method}")(JUNK, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"the message is no {method}Request: ")
    assert trailing["error-reason"] == "InvalidInput"


async def test_in_a_stream_those_before_it_are_answered(channel: Any):
    async def given() -> AsyncIterator[bytes]:
        yield an_echo(b"1").SerializeToString()
        yield JUNK

    stream = channel.stream_stream(f"/{NAME}/ModelStreamInfer")(given(), timeout=10)
    reply = oip.ModelStreamInferResponse.FromString(await stream.read())
    assert reply.infer_response.raw_output_contents[0] == b"1"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = caught.value.details() or ""
    assert details.startswith("the message is no ModelInferRequest: ")


@pytest.mark.parametrize("method", ["ServerLive", "ModelInfer"])
@pytest.mark.parametrize("value", ["!!!", "A", "AA=A", "AAAAA", "-_-_"])
async def test_binary_metadata_that_is_not_base64_is_refused(server: Running, value: str, method: str):
    connection = await http2.connect(server.port)
    connection.send(call(1, f"/{NAME}/{method}", b"", x_raw_bin=value))
    async with asyncio.timeout(20):
        answer = await connection.answer(1)
    await connection.close()
    assert answer.status == grpc.StatusCode.INTERNAL.value[0]
    assert "base64" in answer.fields["grpc-message"]
