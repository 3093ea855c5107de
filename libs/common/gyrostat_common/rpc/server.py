"""Serves gRPC: health from the first moment, our services between opening and closing, reflection.

The address is bound before anything else of a process, so that a second one on the same address is told at once and
touches nothing. Until the services open, their calls get UNAVAILABLE, which a client tries again. Closing: not serving,
refuse new calls, finish those in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from gyrostat_common import telemetry
from gyrostat_common.errors import CannotStart, Unavailable
from gyrostat_common.health import Health
from gyrostat_common.rpc.context import MAX_MESSAGE_BYTES
from gyrostat_common.rpc.health import TruthServicer
from gyrostat_common.rpc.interceptor import CallInterceptor
from gyrostat_common.rpc.pools import JoinedPools
from gyrostat_common.tasks import ended
from gyrostat_common.tls import Certificates

log = telemetry.get_logger("rpc")
GRACE_S = 10.0
MOST_PENDING = 16_384
HTTP2 = "h2"
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


@dataclass(frozen=True)
class Service:
    """A servicer, the generated function that adds it to a server, and its full name."""

    servicer: Any
    add: Callable[[Any, Any], None]
    name: str
    quiet: frozenset[str] = frozenset()
    """Methods that are too many to log: a line only when they fail."""


class _Routes(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Which method answers a call. Looks like a server to the generated functions that add servicers."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._handlers: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._shut = grpc.stream_stream_rpc_method_handler(self._refuse)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """The same methods as above, for implementations that can do more with them."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if not self._health.answering:
            return self._shut
        return next((found for one in self._handlers if (found := one.service(details)) is not None), None)

    async def _refuse(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        raise Unavailable(f"not now: {self._health.look().reason}")
        yield  # a stream, as far as the library is concerned


class Transport(Protocol):
    """What carries the calls: a server that takes handlers as grpc.aio's does."""

    def add_generic_rpc_handlers(self, handlers: Any, /) -> None: ...

    def add_insecure_port(self, address: str, /) -> int:
        """Binds it; the port. Raises RuntimeError or OSError, or gives 0, when it cannot."""

    def add_secure_port(self, address: str, how: Any, /) -> int:
        """The same with TLS: `how` is credentials for gRPC's own server, an SSLContext for others."""

    async def start(self) -> None: ...

    async def stop(self, grace: float | None, /) -> None: ...


Transports = Callable[[Sequence[grpc.aio.ServerInterceptor]], Transport]  # type: ignore[type-arg]
"""Makes one that calls every method through the interceptors."""


class Server:
    """A bound address that answers health; get one from `listen`. The port is 0 where none is bound."""

    def __init__(
        self, port: int, server: Transport, health: Health, routes: _Routes, quiet: set[str], grace_s: float
    ) -> None:
        self.port = port
        self._server, self._health, self._routes, self._quiet, self._grace_s = server, health, routes, quiet, grace_s
        self.truth = TruthServicer(health)

    @property
    def transport(self) -> Transport:
        """What it was made with."""
        return self._server

    @asynccontextmanager
    async def serving(self, services: Sequence[Service], pools: Sequence[DescriptorPool] = ()) -> AsyncIterator[None]:
        """Lets calls in while the block runs. `pools` are private descriptor pools that reflection shows beside the
        default one. At the end: not serving, new calls are refused, those in flight finish."""
        for service in services:
            service.add(service.servicer, self._routes)
            self._quiet.update(f"{service.name}/{method}" for method in service.quiet)
            self.truth.add(service.name)
        names = [service.name for service in services]
        pool = JoinedPools(descriptor_pool.Default(), *pools)
        reflection = ReflectionServicer([*names, _HEALTH, _REFLECTION], pool=pool)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, self._routes)
        self._health.opened()
        await self.truth.tell()
        log.info("serving", port=self.port, services=names)
        try:
            yield
        finally:
            self._health.closing()
            await self.truth.tell()
            await self._server.stop(self._grace_s)


def grpcio(
    interceptors: Sequence[grpc.aio.ServerInterceptor],  # type: ignore[type-arg]
    options: Mapping[str, int] = MappingProxyType({}),
) -> Transport:
    """gRPC's own server, with these options beside or in place of the usual ones."""
    return grpc.aio.server(interceptors=interceptors, options=[*(_OPTIONS | dict(options)).items()])


_OPTIONS = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.so_reuseport": 0,
    "grpc.keepalive_time_ms": 60_000,
    "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
    # Calls that wait for the event loop; gRPC's own 1,000 and 3,000 cancel a burst, with no word of why.
    "grpc.server.max_pending_requests": MOST_PENDING,
    "grpc.server.max_pending_requests_hard_limit": MOST_PENDING,
}


@asynccontextmanager
async def listen(
    address: str | None,
    health: Health,
    *,
    deadline_s: float = 60.0,
    grace_s: float = GRACE_S,
    transport: Transports = grpcio,
    tls: Certificates | None = None,
) -> AsyncIterator[Server]:
    """Binds the address, with TLS where there are certificates, and answers health while the block runs. Raises
    CannotStart when the port is taken. Without an address nothing is bound: for a transport that is handed its
    connections."""
    quiet: set[str] = set()
    server = transport([CallInterceptor(quiet, deadline_s)])
    routes = _Routes(health)
    port = 0 if address is None else _bound(server, address, tls)
    running = Server(port, server, health, routes, quiet, grace_s)
    health_pb2_grpc.add_HealthServicer_to_server(running.truth, server)
    server.add_generic_rpc_handlers((routes,))
    await server.start()
    log.info("listening", address=address, port=running.port)
    telling = asyncio.create_task(running.truth.keep_telling(), name="tell health")
    try:
        yield running
    finally:
        await ended(telling)
        await server.stop(0)


@asynccontextmanager
async def serve(
    address: str,
    services: Sequence[Service],
    *,
    health: Health | None = None,
    pools: Sequence[DescriptorPool] = (),
    deadline_s: float = 60.0,
    grace_s: float = GRACE_S,
    transport: Transports = grpcio,
    tls: Certificates | None = None,
) -> AsyncIterator[Server]:
    """Listens and serves at once, for what has nothing to open in between."""
    async with (
        listen(
            address, health or Health(), deadline_s=deadline_s, grace_s=grace_s, transport=transport, tls=tls
        ) as server,
        server.serving(services, pools),
    ):
        yield server


def _bound(server: Transport, address: str, tls: Certificates | None) -> int:
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            grpcs = isinstance(server, grpc.aio.Server)
            port = server.add_secure_port(address, tls.credentials() if grpcs else tls.context(HTTP2))
    except (RuntimeError, OSError):
        port = 0
    if not port:
        raise CannotStart(f"cannot listen on {address}: stop what uses the port or choose another address")
    return port
