"""The server with real clients: addresses, TLS, compression, adopted sockets, lanes beside handlers, and its end."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from gyrostat_front import Limits, Server
from support import http2
from support.certificates import Authority
from support.front_peer import echoes
from support.waiting import eventually

LANE, METHOD, STREAM = "/test.Front/Lane", "/test.Front/Method", "/test.Front/Stream"


class Methods(grpc.GenericRpcHandler):
    """Says back what it is told, and how it was called."""

    def __init__(self, packing: grpc.Compression) -> None:
        self.begun, self.release, self._packing = 0, asyncio.Event(), packing

    def service(self, details: Any) -> Any:
        if details.method == METHOD:
            return grpc.unary_unary_rpc_method_handler(self._one)
        if details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._each)
        return None

    async def _one(self, request: bytes, context: Any) -> bytes:
        self.begun += 1
        if request == b"wait":
            await self.release.wait()
        context.set_compression(self._packing)
        return request

    async def _each(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


@asynccontextmanager
async def serving(
    limits: Limits | None = None,
    address: str | None = "127.0.0.1:0",
    packing: grpc.Compression = grpc.Compression.Gzip,
) -> AsyncIterator[Any]:
    server, methods = Server(limits=limits), Methods(packing)
    server.add_lane(LANE, echoes)
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port(address) if address else 0
    await server.start()
    try:
        yield server, port, methods
    finally:
        methods.release.set()
        await server.stop(1)


def a_channel(target: object, **options: Any) -> Any:
    return grpc.aio.insecure_channel(str(target), options=[("grpc.use_local_subchannel_pool", 1)], **options)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::]:0", "ipv4:127.0.0.1:0"])
async def test_an_address_is_served_under_each_way_to_write_it(address: str):
    async with serving(address=address) as (_, port, _methods), a_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary(LANE)(b"x", timeout=20) == b"x"


async def test_a_unix_socket_is_served(tmp_path: Path):
    async with serving(address=f"unix:{tmp_path}/front") as _, a_channel(f"unix:{tmp_path}/front") as channel:
        assert await channel.unary_unary(LANE)(b"x", timeout=20) == b"x"


async def test_a_taken_port_is_told():
    async with serving() as (_, port, _methods):
        with pytest.raises(OSError, match="in use"):
            Server().add_insecure_port(f"127.0.0.1:{port}")


async def first_byte(port: int, tls: ssl.SSLContext) -> bytes:
    """What comes first on a connection by TLS."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=tls)
    try:
        return await reader.readexactly(1)
    finally:
        writer.transport.abort()


async def test_tls_is_for_those_who_speak_http_2(tmp_path: Path):
    authority = Authority(tmp_path / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("front"))
    server = Server()
    server.add_lane(LANE, echoes)
    port = server.add_secure_port("127.0.0.1:0", context)
    await server.start()
    credentials = grpc.ssl_channel_credentials(authority.certificate_file.read_bytes())
    secure: Any = grpc.aio.secure_channel(f"localhost:{port}", credentials)
    async with secure as channel:
        for size in (0, 100_000, 3_000_000):
            assert len(await channel.unary_unary(LANE)(bytes(size), timeout=20)) == size
    plain = ssl.create_default_context(cafile=str(authority.certificate_file))
    plain.set_alpn_protocols(["http/1.1"])
    with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(first_byte(port, plain), 20)
    await server.stop(0)


@pytest.mark.parametrize("packing", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=lambda how: how.name)
async def test_packed_messages_go_both_ways(packing: grpc.Compression):
    name = packing.name.lower()
    async with (
        serving(packing=packing) as (_, port, _m),
        a_channel(f"127.0.0.1:{port}", compression=packing) as channel,
    ):
        assert await channel.unary_unary(METHOD)(bytes(100_000), timeout=20) == bytes(100_000)
        assert await channel.unary_unary(LANE)(b"", timeout=20) == b""
        peer = await http2.connect(port)
        peer.send(http2.call(1, METHOD, bytes(10_000), grpc_accept_encoding=f"identity, {name}"))
        answer = await peer.answer(1)
        assert (answer.fields["grpc-encoding"], answer.content[0], len(answer.content) < 1000) == (name, 1, True)
        peer.send(http2.call(3, METHOD, bytes(10_000), grpc_accept_encoding="identity"))
        assert "grpc-encoding" not in (await peer.answer(3)).fields
        await peer.close()


async def test_a_bomb_of_gzip_holds_nobody_up():
    async with serving() as (_, port, _m), a_channel(f"127.0.0.1:{port}") as channel:
        peer = await http2.connect(port)
        bomb = gzip.compress(bytes(80_000_000))
        head = http2.frame(http2.HEADERS, 4, 1, http2.block(http2.asking(METHOD, grpc_encoding="gzip")))
        pieces = [bomb[at : at + 16_000] for at in range(0, len(bomb), 16_000)]
        first = http2.frame(http2.DATA, 0, 1, struct.pack(">BI", 1, len(bomb)))
        peer.send(head, first, *(http2.frame(http2.DATA, 0, 1, one) for one in pieces), http2.frame(http2.DATA, 1, 1))
        answering = asyncio.create_task(peer.answer(1))
        meanwhile = 0
        while not answering.done():
            assert await channel.unary_unary(LANE)(b"x", timeout=20) == b"x"
            meanwhile += 1
        assert ((await answering).status, meanwhile > 2) == (8, True)
        await peer.close()


async def test_thousands_of_calls_at_once_on_one_connection_are_all_answered():
    few = replace(Limits(), streams=100)
    async with serving(few) as (_, port, _m), a_channel(f"127.0.0.1:{port}") as channel:
        lane, method = channel.unary_unary(LANE), channel.unary_unary(METHOD)
        asked = [b"%d" % n for n in range(1500)]
        answers = await asyncio.gather(*((lane if n % 2 else method)(one, timeout=60) for n, one in enumerate(asked)))
        assert answers == asked


async def test_an_adopted_socket_is_served_and_counted():
    async with serving(address=None) as (server, _, _methods):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            accepted = asyncio.get_running_loop().run_in_executor(None, listening.accept)
            async with a_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary(LANE)(b"x", timeout=20)
                server.adopt((await accepted)[0])
                assert await call == b"x"
                assert (server.connections, server.streams) == (1, 0)


async def test_calls_in_flight_finish_when_it_stops_and_new_ones_do_not_begin():
    async with serving() as (server, port, methods), a_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(METHOD)
        call = method(b"wait", timeout=20)
        await eventually(lambda: methods.begun == 1)
        stopping = asyncio.create_task(server.stop(20))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"new", timeout=5)
        methods.release.set()
        assert (await call, caught.value.code()) == (b"wait", grpc.StatusCode.UNAVAILABLE)
        await stopping


async def test_what_does_not_finish_in_time_is_cancelled_when_it_stops():
    async with serving() as (server, port, methods), a_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)(b"wait", timeout=20)
        await eventually(lambda: methods.begun == 1)
        await server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_connection_that_grows_old_is_changed_under_the_calls():
    young = replace(Limits(), age_s=0.2)
    async with serving(young) as (server, port, _m), a_channel(f"127.0.0.1:{port}") as channel:
        lane, peers = channel.unary_unary(LANE), set[str]()

        async def several() -> bool:
            assert await lane(b"x", timeout=20, wait_for_ready=True) == b"x"
            peers.update(connection.peer for connection in server._host.connections)
            return len(peers) > 2

        await eventually(several)


async def test_a_stream_goes_on_while_lanes_are_called():
    async with serving() as (_, port, _methods), a_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.stream_stream(STREAM)()
        for n in range(50):
            await stream.write(bytes(n * 1000))
            assert len(await channel.unary_unary(LANE)(bytes(n), timeout=20)) == n
            assert len(await stream.read()) == n * 1000
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
