"""The empty echo: a server on one of the two fronts that answers every ModelInfer with the same bytes, and does nothing
else. What it reaches is the ceiling of a service on that front.

`python -m bench.serving.echo grpcio|own PORT REPLY-FILE`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.serving.generator import INFER, SERVICE


async def by_grpcio(port: int, reply: bytes) -> None:
    """grpc.aio, without interceptors, without protobuf."""

    async def echo(request: bytes, context: Any) -> bytes:
        return reply

    server = grpc.aio.server()
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.strip("/"), handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def by_ours(port: int, reply: bytes) -> None:
    """Our own front, by a lane."""
    from gyrostat_front import Server

    def echo(call: Any) -> bool:
        call.reply(reply)
        return True

    server = Server()
    server.add_lane(INFER, echo)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    front, port_given, file = sys.argv[1:]
    serve = {"grpcio": by_grpcio, "own": by_ours}[front]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(port_given), Path(file).read_bytes()))
