"""The server: addresses, handlers, lanes, and how it ends. Has the methods of grpc.aio.Server that we use."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gyrostat_front import addresses
from gyrostat_front.connection import Connection
from gyrostat_front.general import General
from gyrostat_front.host import Host, Lane, Together
from gyrostat_front.limits import Limits
from gyrostat_front.watch import LOOK_EVERY_S, Watched

ALPN = "h2"
LOOK_S, CLOSE_S = 0.01, 1.0


class Server:
    """Serves gRPC on the running loop. Everything but `adopt` is called before `start` or from the loop."""

    def __init__(self, interceptors: Sequence[Any] = (), limits: Limits | None = None) -> None:
        self._general = General(interceptors)
        self._host = Host(asyncio.get_running_loop(), limits or Limits(), self._general.take)
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listening: list[asyncio.Server] = []
        self._watched: dict[Connection, Watched] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._adopting: set[asyncio.Task[None]] = set()

    # ---- before the start -------------------------------------------------------------------------------------------

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """grpc.GenericRpcHandlers, asked in their order."""
        self._general.add(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """The same methods as above, for implementations that can do more with them."""

    def add_lane(self, path: str, handle: Lane) -> None:
        """`handle` is called for each complete unary call of `path` as its last frame is read. True: it answers, now or
        later. False: the general path does. It must not block. The last one given for a path counts."""
        self._host.lanes[path.encode()] = handle

    def remove_lane(self, path: str) -> None:
        """From now on the general path takes these calls."""
        self._host.lanes.pop(path.encode(), None)

    @property
    def together(self) -> Together:
        """To be entered by a lane that gives many answers at once: they leave as it ends."""
        return Together(self._host)

    def add_insecure_port(self, address: str) -> int:
        """Binds host:port, or unix:path; the port. Raises OSError."""
        return self._bind(address, None)

    def add_secure_port(self, address: str, context: ssl.SSLContext) -> int:
        """The same with TLS; peers must speak HTTP/2 by ALPN."""
        return self._bind(address, _strict(context))

    def _bind(self, address: str, context: ssl.SSLContext | None) -> int:
        port, bound = addresses.bound(address)
        self._sockets += ((one, context) for one in bound)
        return port

    # ---- while it runs ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Accepts connections from now on."""
        loop, limits = self._host.loop, self._host.limits
        for bound, context in self._sockets:
            timeout_s = None if context is None else limits.handshake_s
            self._listening.append(
                await loop.create_server(
                    self._connection,
                    sock=bound,
                    backlog=addresses.BACKLOG,
                    ssl=context,
                    ssl_handshake_timeout=timeout_s,
                )
            )
        self._sockets = []
        self._look()

    def adopt(self, accepted: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Serves a connected socket that somebody else has accepted, with TLS where there is a context; it is ours from
        now on."""
        if self._host.closed:
            accepted.close()
            return
        accepted.setblocking(False)
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._host.loop.create_task(self._adopted(accepted, context), name="adopt a connection")
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopted(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        loop, timeout_s = self._host.loop, None if context is None else self._host.limits.handshake_s
        try:
            await loop.connect_accepted_socket(
                self._connection,
                accepted,
                ssl=None if context is None else _strict(context),
                ssl_handshake_timeout=timeout_s,
            )
        except OSError:  # it has gone meanwhile, or agreed on nothing
            accepted.close()

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._host.connections)

    @property
    def streams(self) -> int:
        """Calls open now."""
        return self._host.streams

    @property
    def refused(self) -> Mapping[str, int]:
        """Connections that were ended for what they did, by reason."""
        return self._host.refused

    def _connection(self) -> Connection:
        return Connection(self._host)

    def _look(self) -> None:
        now, host = self._host.now(), self._host
        for connection in list(host.connections):
            watched = self._watched.get(connection)
            if watched is None:
                watched = self._watched[connection] = Watched(connection, host.limits)
            watched.look(now)
        for connection in self._watched.keys() - host.connections:
            del self._watched[connection]
        self._timer = host.loop.call_later(LOOK_EVERY_S, self._look)

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def stop(self, grace_s: float | None = None) -> None:
        """No new connections and calls from now on; those in flight have `grace_s` to finish."""
        self._host.closed = True
        for bound, _ in self._sockets:
            bound.close()
        self._sockets = []
        for listening in self._listening:
            listening.close()
        if self._timer is not None:
            self._timer.cancel()
        host = self._host
        for connection in list(host.connections):
            connection.settle()
        await self._while(lambda: any(connection.streams for connection in host.connections), grace_s or 0.0)
        for connection in list(host.connections):
            connection.close()
        await self._general.ended()
        await self._while(lambda: bool(host.connections), CLOSE_S)
        for connection in list(host.connections):
            connection.transport.abort()
        for listening in self._listening:
            await listening.wait_closed()

    async def _while(self, true: Callable[[], bool], most_s: float) -> None:
        until = self._host.now() + most_s
        while true() and self._host.now() < until:  # noqa: ASYNC110 - streams need not tell it for this one moment
            await asyncio.sleep(LOOK_S)


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols([ALPN])
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context
