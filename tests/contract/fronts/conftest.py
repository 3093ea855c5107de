"""Every promise here is kept by each front."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from gyrostat_common import oip
from support.fronts import FRONTS, Running, serving


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    """The front's name."""
    return request.param


@pytest_asyncio.fixture
async def server(front: str) -> AsyncIterator[Running]:
    """A server of the front."""
    async with serving(front) as running:
        yield running


@pytest_asyncio.fixture
async def channel(server: Running) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    async with server.channel() as channel:
        yield channel


@pytest_asyncio.fixture
async def stub(channel: grpc.aio.Channel) -> oip.Stub:
    """Calls to its echo."""
    return oip.Stub(channel)
