"""Everything at once on a few connections: calls small and large, streams, deadlines, calls taken back. Whoever gets an
answer gets its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random

import grpc
import pytest

from gyrostat_common import oip
from support.echo import a_request, an_echo
from support.fronts import Running
from support.waiting import eventually

CALLS, AT_ONCE = 600, 60


async def plain(stub: oip.Stub, chance: Random) -> None:
    content = chance.randbytes(chance.choice((0, 10, 1000, 20_000, 200_000)))
    how = grpc.Compression.Gzip if chance.random() < 0.2 else None
    reply = await stub.ModelInfer(an_echo(content), compression=how, timeout=60)
    assert reply.raw_output_contents[0] == content


async def streamed(stub: oip.Stub, chance: Random) -> None:
    contents = [chance.randbytes(chance.choice((1, 100, 30_000))) for _ in range(chance.randint(0, 12))]
    stream = stub.ModelStreamInfer((an_echo(content) for content in contents), timeout=60)
    assert [reply.infer_response.raw_output_contents[0] async for reply in stream] == contents


async def refused(stub: oip.Stub, chance: Random) -> None:
    code = chance.randint(1, 16)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(a_request("code", code=code), timeout=60)
    assert caught.value.code().value[0] == code


async def late(stub: oip.Stub, chance: Random) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(a_request("held"), timeout=chance.choice((0.001, 0.02, 0.2)))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def taken_back(stub: oip.Stub, chance: Random) -> None:
    call = stub.ModelInfer(a_request(chance.choice(("held", "size")), bytes=chance.choice((10, 300_000))))
    for _ in range(chance.randint(0, 5)):
        await asyncio.sleep(0)
    call.cancel()
    assert await call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK)


async def left(stub: oip.Stub, chance: Random) -> None:
    """A stream whose reader goes in the middle."""
    stream = stub.ModelStreamInfer(
        iter([a_request("size", bytes=chance.choice((10, 50_000)), replies=1000)]), timeout=60
    )
    for _ in range(chance.randint(0, 3)):
        await stream.__aiter__().__anext__()
    stream.cancel()


KINDS = (plain, plain, plain, streamed, refused, late, taken_back, left)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_gets_an_answer_gets_its_own(server: Running, seed: int):
    chance, room = Random(seed), asyncio.Semaphore(AT_ONCE)

    async def one(stub: oip.Stub, kind: int, of: Random) -> None:
        async with room:
            await KINDS[kind](stub, of)

    async with AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(server.stub()) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            for number in range(CALLS):
                kind = chance.randrange(len(KINDS))
                group.create_task(one(chance.choice(stubs), kind, Random(f"{seed}/{number}")))
        assert (await stubs[0].ServerLive(oip.ServerLiveRequest())).live
    await eventually(lambda: server.echo.held == server.echo.cancelled, "every handler that was held hears of its end")
