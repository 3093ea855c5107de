"""A gRPC server on asyncio: HTTP/2 frames read in one pass, unary calls answered without a task each.

`Server` takes the handlers and interceptors of grpc.aio; `add_lane` is the short way for calls that must be fast.
"""

from gyrostat_front.call import Call
from gyrostat_front.host import Lane
from gyrostat_front.limits import Limits
from gyrostat_front.server import Server

__all__ = ["Call", "Lane", "Limits", "Server"]
