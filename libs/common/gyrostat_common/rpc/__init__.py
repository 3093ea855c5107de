"""gRPC at both ends: a server with health, reflection, traces, logs, errors and deadlines; a client that repeats only
what is safe to repeat; stored replies that make a repeat of a mutating call safe.
"""

from typing import TYPE_CHECKING, Any

from gyrostat_common.rpc.client import as_errors, connect
from gyrostat_common.rpc.context import actor, answer_by, remaining_s
from gyrostat_common.rpc.health import ask_health
from gyrostat_common.rpc.server import Server, Service, Transport, Transports, grpcio, listen, serve

if TYPE_CHECKING:
    from gyrostat_common.rpc.replies import once

__all__ = [
    "Server",
    "Service",
    "Transport",
    "Transports",
    "actor",
    "answer_by",
    "as_errors",
    "ask_health",
    "connect",
    "grpcio",
    "listen",
    "once",
    "remaining_s",
    "serve",
]


def __getattr__(name: str) -> Any:
    # Stored replies need a database; inference and the command have none, and start a good deal sooner without it.
    if name == "once":
        from gyrostat_common.rpc.replies import once

        return once
    raise AttributeError(name)
