"""The fronts that must behave alike, each serving `support.echo` in this process."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

import gyrostat_front
from gyrostat_common import oip, rpc
from gyrostat_common.health import Health
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


class _Secure:
    """A server that binds with TLS what it is told to bind without."""

    def __init__(self, server: Any, credentials: Any) -> None:
        self._server, self._credentials = server, credentials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_secure_port(address, self._credentials)


def _credentials(front: str, file: Path) -> Any:
    """Of a PEM file with the key first."""
    if front != "grpcio":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context
    key, _, chain = file.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    return grpc.ssl_server_credentials([(key, b"-----BEGIN CERTIFICATE-----" + chain)])


def transport_of(front: str, tls: Path | None, limits: Mapping[str, Any]) -> Callable[[Sequence[Any]], Any]:
    """What `rpc.serve` makes its server with. `limits` are those of our own front; grpcio has none."""

    def make(interceptors: Sequence[Any]) -> Any:
        if front == "grpcio":
            server: Any = rpc.grpcio(interceptors)
        else:
            server = gyrostat_front.Server(interceptors, gyrostat_front.Limits(**limits))
        for path in LANES if front == "lanes" else ():
            server.add_lane(path, lane)
        return server if tls is None else _Secure(server, _credentials(front, tls))

    return make


@asynccontextmanager
async def serving(
    front: str,
    address: str = "127.0.0.1:0",
    *,
    tls: Path | None = None,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """A server of `front` while the block runs; options as `rpc.serve` has them. `tls`: a PEM file, the key first."""
    echo, health, transport = Echo(), Health(), transport_of(front, tls, limits or {})
    async with rpc.serve(
        address, services(echo), health=health, pools=[oip.POOL], transport=transport, **options
    ) as server:
        yield Running(server.port, echo, health)
