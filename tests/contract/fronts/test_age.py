"""Connections grow old by settings, on each front: calls in flight finish, the next one finds a new connection."""

from __future__ import annotations

import asyncio

import pytest

from gyrostat_common import oip, rpc
from gyrostat_common.health import Health
from gyrostat_inference.serving import transport_of
from gyrostat_inference.settings import Settings
from support.echo import Echo, a_request, an_echo, services
from support.fronts import Running
from support.waiting import eventually

CONNECTION = "GYROSTAT_INFERENCE__CONNECTION__"


@pytest.mark.parametrize("name", ["grpcio", "own"])
async def test_an_old_connection_is_asked_to_go_and_its_calls_finish(name: str):
    given = {"GYROSTAT_INFERENCE__FRONT": name, f"{CONNECTION}AGE_S": "0.5", f"{CONNECTION}AGE_GRACE_S": "30"}
    echo, health = Echo(), Health()
    transport = transport_of(Settings.load(given))
    async with rpc.serve("127.0.0.1:0", services(echo), health=health, pools=[oip.POOL], transport=transport) as server:
        running = Running(server.port, echo, health)
        async with running.stub() as stub:
            held = asyncio.ensure_future(stub.ModelInfer(a_request("held"), timeout=60))
            await eventually(lambda: echo.held)
            seen = {await peer(stub)}
            await eventually(lambda: another(stub, seen))
            echo.release.set()
            await held
            assert (await stub.ModelInfer(an_echo(b"x"), timeout=20)).raw_output_contents[0] == b"x"


async def peer(stub: oip.Stub) -> str:
    """The connection that the server sees."""
    reply = await stub.ModelInfer(a_request("seen"), timeout=20)
    return str(reply.parameters["peer"].string_param)


async def another(stub: oip.Stub, seen: set[str]) -> bool:
    return await peer(stub) not in seen
