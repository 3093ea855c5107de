"""The four kinds of calls."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from gyrostat_common import oip
from support.echo import a_request, an_echo
from support.fronts import bytes_call


async def test_one_there_one_back(channel: grpc.aio.Channel):
    assert await bytes_call(channel, "unary_unary", "One")(b"") == b""
    assert await bytes_call(channel, "unary_unary", "One")(b"abc") == b"abc"


async def test_many_there_one_back(channel: grpc.aio.Channel):
    join = bytes_call(channel, "stream_unary", "Join")
    assert await join(iter([b"a", b"", b"b"])) == b"ab"
    assert await join(iter([])) == b""
    assert await join(bytes([n % 256]) * 1000 for n in range(500)) == b"".join(
        bytes([n % 256]) * 1000 for n in range(500)
    )


@pytest.mark.parametrize("method", ["Split", "Written"])
async def test_one_there_many_back(channel: grpc.aio.Channel, method: str):
    split = bytes_call(channel, "unary_stream", method)
    assert [piece async for piece in split(b"abc")] == [b"a", b"b", b"c"]
    assert [piece async for piece in split(b"")] == []


async def test_each_is_answered_before_the_next_is_sent(channel: grpc.aio.Channel):
    stream = bytes_call(channel, "stream_stream", "Each")()
    for word in (b"one", b"", b"x" * 200_000, b"three"):
        await stream.write(word)
        assert await stream.read() == word
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_without_messages_ends_well(channel: grpc.aio.Channel):
    stream = bytes_call(channel, "stream_stream", "Each")()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_that_fails_gives_what_it_had_and_says_why(stub: oip.Stub):
    """It writes nothing while the end may come: for grpcio's client a write that the end overtakes is INTERNAL."""
    stream = stub.ModelStreamInfer()
    await stream.write(an_echo(b"first"))
    assert (await stream.read()).infer_response.raw_output_contents == [b"first"]
    await stream.write(a_request("refused"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "one: not to be echoed",
    )
    assert dict(caught.value.trailing_metadata())["error-reason"] == "NotToBeEchoed"


async def test_ten_thousand_small_messages_keep_their_order(channel: grpc.aio.Channel):
    stream = bytes_call(channel, "stream_stream", "Each")(n.to_bytes(4, "big") for n in range(10_000))
    assert [int.from_bytes(reply, "big") async for reply in stream] == list(range(10_000))


async def test_streams_of_one_connection_do_not_mix(channel: grpc.aio.Channel):
    async def one(n: int) -> bytes:
        stream = bytes_call(channel, "stream_stream", "Each")(bytes([n]) * 1000 for _ in range(50))
        return b"".join([reply async for reply in stream])

    assert await asyncio.gather(*(one(n) for n in range(20))) == [bytes([n]) * 50_000 for n in range(20)]


async def test_a_slow_reader_of_one_stream_holds_up_no_other(channel: grpc.aio.Channel, stub: oip.Stub):
    """Its window closes, the connection's does not stay closed."""
    slow = stub.ModelStreamInfer(iter([a_request("size", bytes=50_000, replies=40)]))
    assert (await slow.read()).infer_response.raw_output_contents
    for n in range(20):
        reply = await stub.ModelInfer(a_request("size", bytes=n * 100), timeout=30)
        assert len(reply.raw_output_contents[0]) == n * 100
    rest = [await slow.read() for _ in range(39)]
    assert await slow.read() is grpc.aio.EOF
    assert [len(reply.infer_response.raw_output_contents[0]) for reply in rest] == [50_000] * 39
