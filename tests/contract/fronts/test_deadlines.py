"""Calls that end before their answer: who waits gives up, and the handler hears of it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from gyrostat_common import oip
from support.echo import a_request
from support.fronts import Running, bytes_call
from support.waiting import becomes


async def left_ms(stub: oip.Stub, timeout: float | None) -> int:
    reply = await stub.ModelInfer(a_request("left"), timeout=timeout)
    return reply.parameters["left_ms"].int64_param


async def test_the_handler_knows_how_long_there_is(stub: oip.Stub):
    assert 25_000 < await left_ms(stub, 30.0) <= 30_500
    assert 3_000_000 < await left_ms(stub, 3600.0) <= 3_650_000
    assert await left_ms(stub, None) == -1


async def test_a_call_past_its_deadline_ends_and_so_does_its_handler(server: Running, stub: oip.Stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(a_request("held"), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await becomes(lambda: (server.echo.held, server.echo.cancelled), (1, 1))


async def test_a_cancelled_call_cancels_its_handler(server: Running, stub: oip.Stub):
    call = stub.ModelInfer(a_request("held"))
    await becomes(lambda: server.echo.held, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await becomes(lambda: server.echo.cancelled, 1)
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_a_cancelled_stream_cancels_its_handler(server: Running, stub: oip.Stub):
    stream = stub.ModelStreamInfer()
    await stream.write(a_request("held"))
    await becomes(lambda: server.echo.held, 1)
    stream.cancel()
    await becomes(lambda: server.echo.cancelled, 1)


async def test_the_end_of_a_connection_cancels_what_it_asked(server: Running):
    async with server.stub() as stub:
        calls = [asyncio.ensure_future(stub.ModelInfer(a_request("held"))) for _ in range(5)]
        await becomes(lambda: server.echo.held, 5)
    await becomes(lambda: server.echo.cancelled, 5)
    assert all(isinstance(end, BaseException) for end in await asyncio.gather(*calls, return_exceptions=True))


async def test_a_cancelled_call_holds_up_no_other_of_its_connection(server: Running, stub: oip.Stub):
    held = [stub.ModelInfer(a_request("held")) for _ in range(20)]
    await becomes(lambda: server.echo.held, 20)
    for call in held[::2]:
        call.cancel()
    await becomes(lambda: server.echo.cancelled, 10)
    server.echo.release.set()
    for call in held[1::2]:
        assert (await call).id == "one"


async def test_a_reader_that_leaves_ends_an_endless_stream(channel: grpc.aio.Channel, stub: oip.Stub):
    """The messages were never all made: the window holds the handler back."""
    stream = stub.ModelStreamInfer(iter([a_request("size", bytes=100_000, replies=1_000_000)]))
    assert (await stream.read()).infer_response.raw_output_contents
    stream.cancel()
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_a_deadline_ends_a_stream(channel: grpc.aio.Channel):
    stream = bytes_call(channel, "stream_stream", "Each")(timeout=0.3)
    await stream.write(b"x")
    assert await stream.read() == b"x"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_two_hundred_calls_at_once_are_all_answered(stub: oip.Stub):
    replies = await asyncio.gather(*(stub.ModelInfer(a_request("size", bytes=n)) for n in range(200)))
    assert [len(reply.raw_output_contents[0]) for reply in replies] == list(range(200))
