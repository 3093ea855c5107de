"""What one caller of the REST twin may cost: broken, huge, slow and endless requests end their own connection alone."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from gyrostat_common.errors import CannotStart
from gyrostat_inference.service.http import Asked, Limits, Replied, context_of, listening
from support.certificates import Authority
from support.fronts import certificates
from support.graphs import a_scorer, an_echo
from support.rest import Doors, doors
from support.waiting import WITHIN_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCORER = a_scorer({"wind": 1.0})
SMALL = Limits(body_bytes=100_000, line_bytes=4096, headers=20, connections=6, idle_s=0.5, body_s=0.5, reply_s=0.5)
BODY = {"inputs": [{"name": "wind", "datatype": "FP32", "shape": [1, 1], "data": [2]}]}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    async with doors(tmp_path_factory.mktemp("graphs"), {"flights": SCORER}) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    async with doors(tmp_path_factory.mktemp("small"), {"flights": SCORER, "big": an_echo("FP32")}, SMALL) as served:
        yield served


async def raw(port: int, *parts: bytes) -> bytes:
    """Sends the bytes and returns all that comes until the other end closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(WITHIN_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"junk\r\n\r\n", b"400"),
        (b"GET /v2 HTTP/9.9\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + b"\r\n\r\n", b"431"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(50)) + b"\r\n", b"4"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"413"),
        (HEAD + b"Content-Length: 10\r\n\r\nabc", b"408"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"a" * 0x8000 + b"\r\n") * 4, b"413"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", b"400"),
    ],
)  # fmt: skip
async def test_a_broken_or_excessive_request_ends_its_connection_alone(
    small: Doors, sent: bytes, status: bytes
) -> None:
    said = await raw(small.rest_port, sent)
    assert said.split(b" ", 2)[1].startswith(status), said[:200]
    assert b'{"error": "' in said
    assert (await small.get("/v2/health/live"))[0] == 200


async def test_a_bomb_is_not_unpacked(small: Doors) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    said = await raw(small.rest_port, HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
    assert b" 413 " in said[:40]


@pytest.mark.parametrize(("packing", "body", "status"), [(b"gzip", b"no gzip", b"400"), (b"br", b"whatever", b"415")])
async def test_a_body_that_is_not_packed_as_it_says_costs_a_line_for_its_caller_and_none_of_the_log(
    small: Doors, caplog: pytest.LogCaptureFixture, packing: bytes, body: bytes, status: bytes
) -> None:
    said = await raw(
        small.rest_port, HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (packing, len(body), body)
    )
    assert said.split(b" ", 2)[1] == status
    assert b'{"error": "' in said
    assert caplog.records == []


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"])
async def test_who_sends_nothing_or_half_a_head_is_not_waited_for(small: Doors, sent: bytes) -> None:
    assert await raw(small.rest_port, sent) == b""


async def test_who_does_not_read_is_not_waited_for(small: Doors) -> None:
    big = np.zeros((1, 20_000), "<f4").tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 20_000], "parameters": {"binary_data_size": len(big)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    lines = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(head), len(head) + len(big))
    request = HEAD.replace(b"flights", b"big") + lines + head + big
    reader, writer = await asyncio.open_connection("127.0.0.1", small.rest_port, limit=1024)
    async with asyncio.timeout(WITHIN_S):
        try:
            for _ in range(200):  # a reply of 60 kB each, until nothing more fits between the two
                writer.write(request)
                await writer.drain()
            while await reader.read(1):
                pass
        except ConnectionError:
            pass
    assert reader.at_eof() or reader.exception() is not None
    writer.close()
    assert (await small.get("/v2/health/live"))[0] == 200


async def test_connections_beyond_the_limit_are_turned_away(small: Doors) -> None:
    held = [await asyncio.open_connection("127.0.0.1", small.rest_port) for _ in range(SMALL.connections)]
    said = await raw(small.rest_port, b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in said
    for _, writer in held:
        writer.close()


async def test_one_connection_serves_many_requests_also_when_they_come_at_once(served: Doors) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    said = await raw(served.rest_port, one * 50 + one.replace(b"Host", b"Connection: close\r\nHost"))
    assert said.count(b"HTTP/1.1 200 OK") == 51


async def test_a_body_may_wait_for_the_word_to_go_on(served: Doors) -> None:
    body = json.dumps(BODY).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.rest_port)
    writer.write(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    async with asyncio.timeout(WITHIN_S):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_the_bodies_of_all_have_a_limit_together_and_give_it_back() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked) -> Replied:
        if asked.parts == ("slow",):
            began.set()
            await go_on.wait()
        return Replied(200, b"{}")

    def request(path: bytes) -> bytes:
        return b"POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60\r\n\r\n%s" % (path, b"a" * 60)

    async with listening("127.0.0.1:0", answer, Limits(all_bodies_bytes=100)) as port:
        slow = asyncio.create_task(raw(port, request(b"slow")))
        async with asyncio.timeout(WITHIN_S):
            await began.wait()
            said = await raw(port, request(b"quick"))
            assert said.startswith(b"HTTP/1.1 429 ")
            assert b"Retry-After: 1\r\n" in said
            go_on.set()
            assert (await slow).startswith(b"HTTP/1.1 200 ")
            assert (await raw(port, request(b"quick"))).startswith(b"HTTP/1.1 200 ")


async def test_the_end_waits_for_calls_in_flight_and_for_nobody_who_is_idle() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked) -> Replied:
        if asked.parts == ("slow",):
            began.set()
            await go_on.wait()
        return Replied(200, b"{}")

    async with asyncio.timeout(WITHIN_S):
        async with listening("127.0.0.1:0", answer, Limits(grace_s=10 * WITHIN_S)) as port:
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
            idle_writer.write(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
            await idle.readuntil(b"\r\n\r\n{}")
            slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
            slow_writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await began.wait()
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert (await slow.read()).startswith(b"HTTP/1.1 200 OK")
        assert await idle.read() == b""
    idle_writer.close()
    slow_writer.close()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "unix:/nowhere", "256.0.0.1:80"])
async def test_an_address_that_cannot_be_had_is_said_before_anything_is_opened(served: Doors, address: str) -> None:
    async def answer(asked: Asked) -> Replied:
        return Replied(200)

    given = address.format(port=served.rest_port)
    with pytest.raises(CannotStart, match=f"cannot listen on {given}: stop what uses the port"):
        async with listening(given, answer, Limits()):
            pass


async def test_who_begins_tls_and_does_not_go_on_is_cut_off(tmp_path: Path) -> None:
    async def answer(asked: Asked) -> Replied:
        return Replied(200, b"{}")

    authority = Authority(tmp_path / "authority")
    context = context_of(certificates(authority.issue("rest")))
    async with listening("127.0.0.1:0", answer, Limits(handshake_s=0.2), context) as port:
        assert await raw(port) == b""
        trusting = ssl.create_default_context(cafile=str(authority.certificate_file))
        reader, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(WITHIN_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
