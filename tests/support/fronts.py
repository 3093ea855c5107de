"""The fronts that must behave alike, each serving `support.echo` in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from gyrostat_common import oip, rpc
from gyrostat_common.health import Health
from support.echo import BYTES, Echo, services

FRONTS = ("grpcio",)


@dataclass(frozen=True)
class Running:
    """A server of a front."""

    port: int
    echo: Echo
    health: Health

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def channel(self, **options: int) -> AsyncIterator[grpc.aio.Channel]:
        """A connection of its own; options are gRPC's, `grpc.` left out and _ for the dots after the first."""
        async with grpc.aio.insecure_channel(self.address, options=_channel_options(options)) as channel:
            yield channel

    @asynccontextmanager
    async def stub(self, **options: int) -> AsyncIterator[oip.Stub]:
        """Calls to the echo."""
        async with self.channel(**options) as channel:
            yield oip.Stub(channel)


def _channel_options(more: dict[str, int]) -> list[tuple[str, int]]:
    lone = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return [*lone, *((f"grpc.{name}", number) for name, number in more.items())]


def bytes_call(channel: Any, kind: str, method: str) -> Any:
    """A callable of the bytes service: `kind` as grpc's channels name them, e.g. "unary_stream"."""
    return getattr(channel, kind)(f"/{BYTES}/{method}")


@asynccontextmanager
async def serving(front: str, address: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[Running]:
    """A server of `front` while the block runs; options as `rpc.serve` has them."""
    echo, health = Echo(), Health()
    async with rpc.serve(address, services(echo), health=health, pools=[oip.POOL], **options) as server:
        yield Running(server.port, echo, health)
