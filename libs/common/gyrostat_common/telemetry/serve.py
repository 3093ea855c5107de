"""/metrics, /healthz and /readyz over HTTP/1.1: three GETs, nothing else, so no web framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gyrostat_common.errors import CannotStart
from gyrostat_common.telemetry.metrics import render

if TYPE_CHECKING:
    from gyrostat_common.health import Health


@asynccontextmanager
async def serve_metrics(
    address: str, health: Health, fresh: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[int]:
    """Yields the bound port. Raises CannotStart when it is taken. `fresh` is awaited before metrics are shown, for a
    process that has to ask others.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                while await _answer_one(reader, writer, health, fresh):
                    pass
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    host, _, port = address.rpartition(":")
    try:
        server = await asyncio.start_server(answer, host.strip("[]") or None, int(port), limit=16384)
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot listen on {address}: stop what uses the port or choose another address") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _answer_one(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    health: Health,
    fresh: Callable[[], Awaitable[None]] | None,
) -> bool:
    """One request; True when the connection stays open for the next."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, path, *_ = (*head.split("\r\n", 1)[0].split(" "), "", "")
    if fresh is not None and path.partition("?")[0] == "/metrics":
        await fresh()
    status, kind, body = _page(method, path.partition("?")[0], health)
    keep = "connection: close" not in head.lower() and status == "200 OK"
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
        + (b"" if method == "HEAD" else body)
    )
    await writer.drain()
    return keep


def _page(method: str, path: str, health: Health) -> tuple[str, str, bytes]:
    text = "text/plain; charset=utf-8"
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", text, b"only GET\n"
    if path == "/metrics":
        return "200 OK", "text/plain; version=0.0.4; charset=utf-8", render()
    if path == "/healthz":
        return "200 OK", text, b"ok\n"
    if path == "/readyz":
        report = health.look()
        status = "200 OK" if report.reason is None else "503 Service Unavailable"
        return status, text, f"{report.sentence}\n".encode()
    return "404 Not Found", text, b"/metrics /healthz /readyz\n"
