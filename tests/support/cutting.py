"""A TCP proxy that loses replies: the call arrives, its effect is committed, the answer never comes back.

`arm()` makes it drop the connection at the first HEADERS frame that the server sends, i.e. when a reply begins; every
byte towards the server has been passed on by then. Used to prove that a repeat of a mutating call has one effect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HEADERS = 1


class CuttingProxy:
    """Forwards to `upstream` (host:port) until it is armed; counts the replies it lost."""

    def __init__(self, upstream: str) -> None:
        self._host, _, port = upstream.rpartition(":")
        self._port = int(port)
        self._armed = False
        self.cuts = 0
        self.address = ""

    def arm(self) -> None:
        """Lose the next reply."""
        self._armed = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection."""
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        there = asyncio.create_task(_copy(reader, upstream_writer))
        back = asyncio.create_task(self._replies(upstream_reader, writer))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        for end in (writer, upstream_writer):
            end.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(9)
                body = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if self._armed and head[3] == HEADERS:
                    self._armed = False
                    self.cuts += 1
                    return
                writer.write(head + body)
                await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()


@asynccontextmanager
async def cutting(upstream: str) -> AsyncIterator[CuttingProxy]:
    """A running proxy in front of a gRPC server; `address` is where to connect."""
    proxy = CuttingProxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
