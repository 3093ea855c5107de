"""How to know that a process is ready: it answers. Kafka: a metadata request; a service: its gRPC health check.

Called by `gyrostat_local.system` and the test fixtures. Nothing here starts or stops anything.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from struct import pack, unpack

import grpc

POLL_S = 0.05
OURS = (20_000, 32_000)
"""Below the ports that the kernel gives out (32768 and up, unless it is told otherwise)."""
METADATA = pack(">hhih", 3, 4, 1, -1) + pack(">ib", 0, 0)  # api 3 v4, correlation 1, no client id, no topics, no create


class NotReady(Exception):
    """A process ended, or did not answer in the time it was given; the text says which and where to look."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now.

    Not one that the kernel would choose: it may give that to anybody before its owner binds it, or while its owner is
    started again.
    """
    while True:
        port = random.randrange(*OURS)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


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


def taken(address: str) -> bool:
    """Say whether something listens on this host:port. False when nobody can tell: starting will."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or port == "0":
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


async def service_standing(address: str, timeout_s: float = 1.0) -> tuple[str, str]:
    """Return the service's word on itself and why: SERVING, ALARMED (it serves, but see to it), NOT_SERVING or
    UNREACHABLE.
    """
    from gyrostat_common.rpc import ask_health  # here, so that the fixtures which need only a broker do not load it

    async with grpc.aio.insecure_channel(address) as channel:
        try:
            report = await ask_health(channel, timeout_s=timeout_s)
        except grpc.aio.AioRpcError:
            return "UNREACHABLE", ""
    return report.word.upper().replace(" ", "_"), "" if report.word == "serving" else report.sentence


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
