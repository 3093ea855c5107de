"""TLS: gRPC's clients by their authority, and what has not agreed on HTTP/2 is no client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from gyrostat_common import oip
from support import http2
from support.certificates import Authority
from support.echo import NAME, an_echo
from support.fronts import Running, serving
from support.http2 import call

LIVE = f"/{NAME}/ServerLive"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Path:
    return authority.issue("front")


@pytest_asyncio.fixture
async def server(front: str, certificate: Path) -> AsyncIterator[Running]:
    async with serving(front, tls=certificate) as running:
        yield running


def trusting(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def live(server: Running, authority: Authority) -> bool:
    """A client of gRPC's is answered."""
    credentials = grpc.ssl_channel_credentials(authority.certificate_file.read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
        return (await oip.Stub(channel).ServerLive(oip.ServerLiveRequest(), timeout=20)).live


async def test_large_messages_go_both_ways(server: Running, authority: Authority):
    credentials = grpc.ssl_channel_credentials(authority.certificate_file.read_bytes())
    content = bytes(range(256)) * 12_000
    async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
        replies = await asyncio.gather(*(oip.Stub(channel).ModelInfer(an_echo(content)) for _ in range(5)))
    assert [reply.raw_output_contents[0] == content for reply in replies] == [True] * 5


async def test_a_client_that_does_not_trust_us_goes_and_others_stay(server: Running, authority: Authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await http2.connect(server.port, tls=ssl.create_default_context())
    assert await live(server, authority)


@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("spdy/3", "http/1.0")], ids=["none", "http/1.1", "others"])
async def test_what_has_not_agreed_on_http2_gets_no_answer(
    server: Running, authority: Authority, protocols: tuple[str, ...]
):
    try:
        connection = await http2.connect(server.port, tls=trusting(authority, *protocols))
        connection.send(call(1, LIVE))
        async with asyncio.timeout(20):
            await connection.closed()
        assert not connection.answers.get(1, http2.Answer()).fields
        await connection.close()
    except (ssl.SSLError, ConnectionError):
        pass  # the handshake itself was refused
    assert await live(server, authority)


async def test_what_does_not_speak_tls_is_cut_off(server: Running, authority: Authority):
    connection = await http2.connect(server.port)
    connection.send(call(1, LIVE))
    async with asyncio.timeout(20):
        await connection.reader.read()
    await connection.close()
    assert await live(server, authority)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_of_tls_are_refused(server: Running, authority: Authority):
    context = trusting(authority, "h2")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await http2.connect(server.port, tls=context)
    assert await live(server, authority)
