"""How to know that a process is ready: it answers. Kafka: a metadata request; a service: its gRPC health check.

Called by `gyrostat_local.system` and the test fixtures. Nothing here starts or stops anything.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from struct import pack, unpack

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

POLL_S = 0.05
METADATA = pack(">hhih", 3, 4, 1, -1) + pack(">ib", 0, 0)  # api 3 v4, correlation 1, no client id, no topics, no create


class NotReady(Exception):
    """A process ended, or did not answer in the time it was given; the text says which and where to look."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kafka_answers(address: str, timeout_s: float = 1.0) -> bool:
    """Say whether a PLAINTEXT broker answers a metadata request and names at least one broker.

    Written by hand (30 bytes) because a client library logs, retries and needs a loop for the same question.
    """
    host, _, port = address.split(",")[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as link:
            link.sendall(pack(">i", len(METADATA)) + METADATA)
            reply = _read(link, unpack(">i", _read(link, 4))[0])
    except OSError:
        return False
    return len(reply) >= 12 and unpack(">i", reply[8:12])[0] >= 1  # correlation, throttle, then the brokers' count


def _read(link: socket.socket, size: int) -> bytes:
    """Read exactly `size` bytes; ConnectionError when the peer closes before."""
    parts = bytearray()
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            raise ConnectionError("closed")
        parts += part
    return bytes(parts)


async def grpc_health(address: str, timeout_s: float = 1.0) -> str:
    """Return the server's word on itself: SERVING, NOT_SERVING, … or UNREACHABLE."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return "UNREACHABLE"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


async def until(answers: Callable[[], bool], alive: Callable[[], bool], *, what: str, timeout_s: float) -> None:
    """Wait until `answers()`; NotReady when `alive()` turns false or the time is over. Wall time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await asyncio.to_thread(answers):
                if not alive():
                    raise NotReady(f"{what} ended before it was ready")
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise NotReady(f"{what} was not ready after {timeout_s:.0f} s") from None
