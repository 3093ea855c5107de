"""A request that fails is gone with its call, however large it was."""

from __future__ import annotations

import grpc
import pytest

from gyrostat_common import oip
from support.circles import left_in_circles
from support.echo import NotToBeEchoed, a_request


async def test_an_error_is_gone_when_its_call_is_over(stub: oip.Stub):
    with left_in_circles(NotToBeEchoed) as left:
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(a_request("refused"))
    assert left == []


async def test_so_it_is_when_a_stream_is_over(stub: oip.Stub):
    with left_in_circles(NotToBeEchoed) as left:
        for _ in range(5):
            stream = stub.ModelStreamInfer()
            await stream.write(a_request("refused"))
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.read()
    assert left == []
