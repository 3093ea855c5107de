"""Connections handed from the process that accepts them to the one that answers (SCM_RIGHTS over a unix socketpair)."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

from gyrostat_common import telemetry
from gyrostat_common.errors import CannotStart

log = telemetry.get_logger("inference.cores")
BACKLOG, BURST, PAUSE_S = 1024, 64, 0.05
GRPC, REST = "g", "r"
"""The doors: what is spoken behind them. One letter, because it travels with each connection."""
Offer = Callable[[str, socket.socket], bool]
"""Takes a connection of a door; false while nobody can."""


def bound(address: str) -> socket.socket:
    """Listens on host:port, alone. Raises CannotStart."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, proto, _, place = found[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot listen on {address}: {error}; workers need host:port") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {address}: stop what uses the port or choose another address") from error
    listener.setblocking(False)
    return listener


class Doors:
    """Accepts on bound sockets, by name, and offers what comes. While nobody takes a connection no other is accepted:
    the kernel's queue holds them.
    """

    def __init__(self, listeners: Mapping[str, socket.socket], offer: Offer) -> None:
        self._listeners, self._offer = dict(listeners), offer
        self._held: dict[str, socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self._pauses: dict[str, asyncio.TimerHandle] = {}

    def open(self) -> None:
        for door in self._listeners:
            self._resume(door)

    def shut(self) -> None:
        """No more connections; one that nobody took is closed."""
        for pause in self._pauses.values():
            pause.cancel()
        for listener in self._listeners.values():
            self._loop.remove_reader(listener)
            listener.close()
        for held in self._held.values():
            held.close()
        self._listeners, self._held = {}, {}

    def _resume(self, door: str) -> None:
        self._pauses.pop(door, None)
        held = self._held.pop(door, None)
        if held is not None and not self._offer(door, held):
            self._held[door] = held
            self._pause(door)
            return
        self._loop.add_reader(self._listeners[door], self._accept, door)

    def _pause(self, door: str) -> None:
        self._loop.remove_reader(self._listeners[door])
        self._pauses[door] = self._loop.call_later(PAUSE_S, self._resume, door)

    def _accept(self, door: str) -> None:
        for _ in range(BURST):
            try:
                connection, _ = self._listeners[door].accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EPROTO):
                    continue
                log.error("connection_not_accepted", door=door, error=str(error))  # e.g. no more open files
                return self._pause(door)
            if not self._offer(door, connection):
                self._held[door] = connection
                return self._pause(door)


def handed(through: socket.socket, door: str, connection: socket.socket) -> bool:
    """Hands it over and closes it here; false when the other end is gone or reads none."""
    try:
        sent = socket.send_fds(through, [door.encode()], [connection.fileno()])
    except OSError:  # full, or gone: the caller asks another
        return False
    if sent:
        connection.close()
    return bool(sent)


class Receiver:
    """Takes connections over, at the other end. `adopt` is asked with the door."""

    def __init__(self, end: socket.socket, adopt: Callable[[str, socket.socket], None]) -> None:
        end.setblocking(False)
        self._end, self._adopt = end, adopt
        self.adopted = 0

    def open(self) -> None:
        asyncio.get_running_loop().add_reader(self._end, self.take)

    def take(self) -> None:
        """Everything that has been handed over so far."""
        while True:
            try:
                door, files, _, _ = socket.recv_fds(self._end, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                door, files = b"", []
            if not door:
                asyncio.get_running_loop().remove_reader(self._end)
                return
            for file in files:
                self.adopted += 1
                self._begin(door.decode(), file)

    def _begin(self, door: str, file: int) -> None:
        try:
            connection = socket.socket(fileno=file)
        except OSError:
            with suppress(OSError):
                os.close(file)
            return
        connection.setblocking(False)
        try:
            self._adopt(door, connection)
        except OSError as error:  # it broke on the way: its caller tries again
            log.info("connection_not_adopted", error=str(error))
            connection.close()

    def close(self) -> None:
        """Takes what is on its way, then no more."""
        self.take()
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()
