"""Messages small, large and compressed."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest

from gyrostat_common import oip
from gyrostat_common.rpc.context import MAX_MESSAGE_BYTES
from support.echo import an_echo
from support.fronts import Running

PACKED = (grpc.Compression.Gzip, grpc.Compression.Deflate)
SIZES = [0, 1, 16_379, 16_384, 65_530, 65_535, 65_536, 1_000_003, 8_000_000]


@pytest.mark.parametrize("size", SIZES)
async def test_a_message_of_any_size_comes_back_whole(stub: oip.Stub, size: int):
    content = random.Random(size).randbytes(size)
    reply = await stub.ModelInfer(an_echo(content), timeout=60)
    assert reply.raw_output_contents[0] == content


async def test_the_largest_message_is_taken(stub: oip.Stub):
    content = bytes(MAX_MESSAGE_BYTES - 1000)
    assert len((await stub.ModelInfer(an_echo(content), timeout=90)).raw_output_contents[0]) == len(content)


@pytest.mark.parametrize("frame_size", [16_384, 1_000_000])
async def test_large_messages_at_once_on_one_connection(server: Running, frame_size: int):
    """They share the connection's window in both directions."""
    contents = [random.Random(n).randbytes(700_000 + n) for n in range(12)]
    async with server.stub(**{"http2.max_frame_size": frame_size}) as stub:
        replies = await asyncio.gather(*(stub.ModelInfer(an_echo(content), timeout=60) for content in contents))
    assert [reply.raw_output_contents[0] for reply in replies] == contents


@pytest.mark.parametrize("lookahead", [1, 5, 1000])
async def test_a_client_with_a_small_window_gets_all_of_it(server: Running, lookahead: int):
    content = random.Random(1).randbytes(300_000)
    async with server.stub(**{"http2.lookahead_bytes": lookahead, "http2.bdp_probe": 0}) as stub:
        assert (await stub.ModelInfer(an_echo(content), timeout=60)).raw_output_contents[0] == content


@pytest.mark.parametrize("how", list(grpc.Compression), ids=lambda how: how.name)
@pytest.mark.parametrize("size", [0, 20, 2_000_000])
async def test_a_compressed_message_is_understood(stub: oip.Stub, how: grpc.Compression, size: int):
    content = random.Random(size).randbytes(16) * (size // 16)
    reply = await stub.ModelInfer(an_echo(content), compression=how, timeout=60)
    assert reply.raw_output_contents[0] == content


@pytest.mark.parametrize("how", PACKED, ids=lambda how: how.name)
async def test_a_compressed_stream_is_understood(stub: oip.Stub, how: grpc.Compression):
    contents = [bytes([n]) * 10_000 for n in range(30)]
    stream = stub.ModelStreamInfer((an_echo(content) for content in contents), compression=how)
    assert [reply.infer_response.raw_output_contents[0] async for reply in stream] == contents


@pytest.mark.parametrize("how", PACKED, ids=lambda how: how.name)
async def test_a_small_message_that_unfolds_beyond_the_limit_is_refused(stub: oip.Stub, how: grpc.Compression):
    """The limit holds for what comes out too: 65 MB are 65 kB on the wire."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(an_echo(bytes(MAX_MESSAGE_BYTES + 1)), compression=how, timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live
