"""How a server ends: what runs is finished, what comes is refused, and the end has a limit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from gyrostat_common import oip
from support.echo import a_request
from support.fronts import Running, serving
from support.waiting import becomes, eventually


async def refused(stub: oip.Stub) -> grpc.aio.AioRpcError | None:
    """What a new call is told; None when it was answered."""
    try:
        await stub.ServerLive(oip.ServerLiveRequest(), timeout=5)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_what_runs_is_finished_and_what_comes_is_refused(front: str):
    async with AsyncExitStack() as stack:
        closing = await stack.enter_async_context(AsyncExitStack())
        server: Running = await closing.enter_async_context(serving(front, grace_s=60.0))
        stub = await stack.enter_async_context(server.stub())
        held = [stub.ModelInfer(a_request("held")) for _ in range(3)]
        stream = stub.ModelStreamInfer()
        await stream.write(a_request("echo"))
        assert (await stream.read()).infer_response.id == "one"
        await becomes(lambda: server.echo.held, 3)
        end = asyncio.create_task(closing.aclose())
        error = await eventually(lambda: refused(stub), "a new call is refused")
        # A call that crosses grpcio's GOAWAY on the way may be told CANCELLED.
        crossed = {grpc.StatusCode.CANCELLED} if front == "grpcio" else set()
        assert error.code() in {grpc.StatusCode.UNAVAILABLE} | crossed
        await stream.write(a_request("echo"))
        assert (await stream.read()).infer_response.id == "one"
        assert not end.done()
        server.echo.release.set()
        assert [(await call).id for call in held] == ["one"] * 3
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        await end
    assert server.echo.cancelled == 0


async def test_a_call_that_does_not_end_is_cut_off_when_the_grace_is_over(front: str):
    async with AsyncExitStack() as stack:
        closing = await stack.enter_async_context(AsyncExitStack())
        server: Running = await closing.enter_async_context(serving(front, grace_s=0.3))
        stub = await stack.enter_async_context(server.stub())
        held = stub.ModelInfer(a_request("held"))
        await becomes(lambda: server.echo.held, 1)
        await closing.aclose()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await held
        assert server.echo.cancelled == 1


async def test_idle_connections_hold_up_no_end(front: str):
    async with AsyncExitStack() as stack:
        closing = await stack.enter_async_context(AsyncExitStack())
        server: Running = await closing.enter_async_context(serving(front, grace_s=60.0))
        for _ in range(20):
            stub = await stack.enter_async_context(server.stub())
            await stub.ServerLive(oip.ServerLiveRequest())
        async with asyncio.timeout(20):
            await closing.aclose()


async def test_the_port_is_free_again_at_once(front: str):
    async with serving(front) as server, server.stub() as stub:
        await stub.ServerLive(oip.ServerLiveRequest())
    async with serving(front, address=server.address) as again, again.stub() as stub:
        assert again.port == server.port
        assert (await stub.ServerLive(oip.ServerLiveRequest())).live
