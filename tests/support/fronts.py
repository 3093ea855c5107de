"""The fronts that must behave alike, each serving `support.echo` in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

import gyrostat_front
from gyrostat_common import oip, rpc
from gyrostat_common.health import Health
from gyrostat_common.settings import ServingTls
from gyrostat_common.tls import Certificates
from support.echo import BYTES, LANES, Echo, lane, services

FRONTS = ("grpcio", "own", "lanes")
"""gRPC's server; ours; ours with the plain answers of the echo on lanes, the short way past interceptors and tasks."""


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


def certificates(file: Path, client_ca: Path | None = None) -> Certificates:
    """Of a PEM file with key and chain; `client_ca` makes it mutual."""
    return Certificates(ServingTls(certificate=str(file), key=str(file), client_ca=str(client_ca or "")), "inference")


def transport_of(front: str, limits: Mapping[str, Any]) -> Callable[[Sequence[Any]], Any]:
    """What `rpc.serve` makes its server with. `limits` are those of our own front; grpcio has none."""

    def make(interceptors: Sequence[Any]) -> Any:
        if front == "grpcio":
            server: Any = rpc.grpcio(interceptors)
        else:
            server = gyrostat_front.Server(interceptors, gyrostat_front.Limits(**limits))
        for path in LANES if front == "lanes" else ():
            server.add_lane(path, lane)
        return server

    return make


@asynccontextmanager
async def serving(
    front: str,
    address: str = "127.0.0.1:0",
    *,
    tls: Path | Certificates | None = None,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """A server of `front` while the block runs; options as `rpc.serve` has them. `tls`: certificates, or a PEM file
    with key and chain."""
    echo, health, transport = Echo(), Health(), transport_of(front, limits or {})
    shown = certificates(tls) if isinstance(tls, Path) else tls
    async with rpc.serve(
        address, services(echo), health=health, pools=[oip.POOL], transport=transport, tls=shown, **options
    ) as server:
        yield Running(server.port, echo, health)
