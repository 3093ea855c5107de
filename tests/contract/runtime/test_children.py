"""A service may start children while it serves: none of them dies before it becomes the program it was started for."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gyrostat_common
import asyncio
import collections
import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CHILDREN = 400

async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ended = collections.Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calling = [asyncio.create_task(call(stub)) for _ in range(8)]
        for _ in range(CHILDREN):
            child = await asyncio.create_subprocess_exec("/bin/true", env={})
            ended[await child.wait()] += 1
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
    await server.stop(0)
    print(dict(ended))

async def call(stub):
    while True:
        await stub.Check(health_pb2.HealthCheckRequest())

uvloop.run(main())
"""


def test_no_child_of_a_busy_server_dies_before_its_program_begins() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "{0: 400}", done.stdout + done.stderr
