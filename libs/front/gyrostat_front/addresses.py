"""Listening sockets for an address as gRPC writes them."""

from __future__ import annotations

import errno
import socket
from typing import Any

BACKLOG = 1024
_SCHEMES = ("dns:", "ipv4:", "ipv6:")
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bound(address: str) -> tuple[int, list[socket.socket]]:
    """The port, and a socket for each address that the name stands for; [::] is all of both families. Port 0 is a free
    one; for unix:path it is 1. Raises OSError."""
    if address.startswith("unix:"):
        return 1, [_listening(socket.socket(socket.AF_UNIX), address.removeprefix("unix:"))]
    for scheme in _SCHEMES:
        address = address.removeprefix(scheme).lstrip("/")
    host, _, text = address.rpartition(":")
    port, found, refused = int(text), list[socket.socket](), OSError(f"{address} is no address of ours")
    for family, kind, protocol, _, name in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            one = socket.socket(family, kind, protocol)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "[::]"))
            found.append(_listening(one, (name[0], port, *name[2:])))
        except OSError as error:
            refused = error
            if error.errno in _NO_FAMILY:  # a machine without IPv6 knows its names
                continue
            for other in found:
                other.close()
            raise
        port = found[0].getsockname()[1]
    if not found:
        raise refused
    return port, found


def _listening(one: socket.socket, name: Any) -> socket.socket:
    try:
        one.bind(name)
        one.listen(BACKLOG)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one
