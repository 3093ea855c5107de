"""Serves gRPC: our services, health, reflection. Closing: not serving, refuse new calls, finish those in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from gyrostat_common import telemetry
from gyrostat_common.rpc.context import MAX_MESSAGE_BYTES
from gyrostat_common.rpc.interceptor import CallInterceptor
from gyrostat_common.rpc.pools import JoinedPools
from gyrostat_common.runtime import CannotStart

log = telemetry.get_logger("rpc")
GRACE_S = 10.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True)
class Service:
    """A servicer, the generated function that adds it to a server, and its full name."""

    servicer: Any
    add: Callable[[Any, Any], None]
    name: str
    quiet: frozenset[str] = frozenset()
    """Methods that are too many to log: a line only when they fail."""


class Server:
    """A running server."""

    def __init__(self, port: int, health: HealthServicer) -> None:
        self.port, self._health = port, health

    async def set_serving(self, name: str, serving: bool) -> None:
        """What health says of a service or model; "" is the server as a whole."""
        await self._health.set(name, _SERVING if serving else _NOT_SERVING)


@asynccontextmanager
async def serve(
    address: str,
    services: Sequence[Service],
    *,
    pools: Sequence[DescriptorPool] = (),
    serving: bool = True,
    deadline_s: float = 60.0,
    grace_s: float = GRACE_S,
) -> AsyncIterator[Server]:
    """Serves while the block runs. `pools` are private descriptor pools that reflection shows beside the default one;
    `serving` is what health says of the server ("") and its services at first. Raises CannotStart when the port is
    taken.
    """
    quiet = frozenset(f"{service.name}/{method}" for service in services for method in service.quiet)
    server = grpc.aio.server(
        interceptors=[CallInterceptor(quiet, deadline_s)],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ],
    )
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for service in services:
        service.add(service.servicer, server)
    names = [service.name for service in services]
    _add_reflection(server, names, pools)
    running = Server(_bound(server, address), health)
    for name in ("", *names):
        await running.set_serving(name, serving)
    await server.start()
    log.info("listening", address=address, port=running.port, services=names)
    try:
        yield running
    finally:
        await health.enter_graceful_shutdown()
        await server.stop(grace_s)


def _bound(server: grpc.aio.Server, address: str) -> int:
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise CannotStart(f"cannot listen on {address}: stop what uses the port or choose another address")
    return port


def _add_reflection(server: grpc.aio.Server, names: Sequence[str], pools: Sequence[DescriptorPool]) -> None:
    shown = [
        *names,
        health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name,
    ]
    pool = JoinedPools(descriptor_pool.Default(), *pools)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(shown, pool=pool), server)
