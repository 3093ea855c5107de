"""Connections handed from the process that accepts them to the one that answers (SCM_RIGHTS over a unix socketpair)."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gyrostat_common import telemetry
from gyrostat_common.errors import CannotStart
from gyrostat_front import addresses

log = telemetry.get_logger("inference.cores")
BURST, PAUSE_S = 64, 0.05
GRPC, REST = "g", "r"
"""The doors: what is spoken behind them. One letter, because it travels with each connection."""
Offer = Callable[[str, socket.socket], bool]
"""Takes a connection of a door; false while nobody can."""


def bound(address: str) -> list[socket.socket]:
    """Listening sockets for all that the address stands for. Raises CannotStart."""
    try:
        return addresses.bound(address)[1]
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot listen on {address}: stop what uses the port or choose another address") from error


class Doors:
    """Accepts on bound sockets, by name, and offers what comes. While nobody takes a connection no other is accepted:
    the kernel's queue holds them.
    """

    def __init__(self, listeners: Mapping[str, Sequence[socket.socket]], offer: Offer) -> None:
        self._doors = {listener: door for door, each in listeners.items() for listener in each}
        self._offer, self._loop = offer, asyncio.get_running_loop()
        self._held: dict[socket.socket, socket.socket] = {}
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}

    def open(self) -> None:
        for listener in self._doors:
            self._resume(listener)

    def shut(self) -> None:
        """No more connections; one that nobody took is closed."""
        for pause in self._pauses.values():
            pause.cancel()
        for listener in self._doors:
            self._loop.remove_reader(listener)
            listener.close()
        for held in self._held.values():
            held.close()
        self._doors, self._held = {}, {}

    def _resume(self, listener: socket.socket) -> None:
        self._pauses.pop(listener, None)
        held = self._held.pop(listener, None)
        if held is not None and not self._offer(self._doors[listener], held):
            self._held[listener] = held
            return self._pause(listener)
        self._loop.add_reader(listener, self._accept, listener)

    def _pause(self, listener: socket.socket) -> None:
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(PAUSE_S, self._resume, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BURST):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EPROTO):
                    continue
                log.error("connection_not_accepted", error=str(error))  # e.g. no more open files
                return self._pause(listener)
            if not self._offer(self._doors[listener], connection):
                self._held[listener] = connection
                return self._pause(listener)


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
