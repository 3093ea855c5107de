"""Calls and mistakes by hand, frame by frame: each gets its own answer, and the connection goes on."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from contextlib import suppress

import pytest

from gyrostat_common import oip
from support import http2
from support.echo import BYTES, NAME, a_request
from support.fronts import Running
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, asking, block, call, frame, message

LIVE, INFER, ONE = f"/{NAME}/ServerLive", f"/{NAME}/ModelInfer", f"/{BYTES}/One"
METADATA = a_request("metadata").SerializeToString()


def asked(*pieces: bytes, **more: str) -> bytes:
    """A call of One whose DATA frames are these; the last one ends it."""
    frames = [frame(DATA, 0, 1, piece) for piece in pieces[:-1]] + [frame(DATA, END_STREAM, 1, pieces[-1])]
    return b"".join([frame(HEADERS, END_HEADERS, 1, block(asking(ONE, **more))), *frames])


TAKEN = {
    "the shortest call": (call(1, LIVE), oip.ServerLiveResponse(live=True).SerializeToString()),
    "a content type with a suffix": (call(1, ONE, b"x", content_type="application/grpc+proto"), b"x"),
    "one message in many frames": (asked(b"", message(b"xy")[:2], message(b"xy")[2:6], b"", b"y", b""), b"xy"),
    "trailers after the message": (
        frame(HEADERS, END_HEADERS, 1, block(asking(ONE)))
        + frame(DATA, 0, 1, message(b"x"))
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, block([("x", "y")])),
        b"x",
    ),
    "gzip": (asked(message(gzip.compress(b"good"), 1), grpc_encoding="gzip"), b"good"),
    "deflate": (asked(message(zlib.compress(b"good"), 1), grpc_encoding="deflate"), b"good"),
    "gzip named and not used": (asked(message(b"good"), grpc_encoding="gzip"), b"good"),
    "frames that nobody knows": (frame(0xEE, 0xFF, 1, b"?") + frame(0xEE, 0, 0, b"?") + call(1, ONE, b"x"), b"x"),
    "eleven thousand years": (call(1, ONE, b"x", grpc_timeout="99999999H"), b"x"),
    "a nanosecond short of a second": (call(1, ONE, b"x", grpc_timeout="99999999n"), b"x"),
    "priority and no dependency": (
        frame(http2.PRIORITY, 0, 1, struct.pack(">IB", 0, 15)) + call(1, ONE, b"x"), b"x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
async def test_what_the_protocol_allows_is_answered(server: Running, case: str):
    frames, content = TAKEN[case]
    connection = await http2.connect(server.port)
    connection.send(frames)
    async with asyncio.timeout(20):
        answer = await connection.answer(1)
    assert (answer.status, answer.reset) == (0, None)
    assert (answer.fields[":status"], answer.fields["content-type"][:16]) == ("200", "application/grpc")
    assert answer.content == message(content)
    await connection.close()


REFUSED: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "compressed by nothing": (asked(message(b"x", 1)), (13,)),
    "gzip that is none": (asked(message(b"nonsense", 1), grpc_encoding="gzip"), (13,)),
    "gzip cut short": (asked(message(gzip.compress(bytes(1000))[:-9], 1), grpc_encoding="gzip"), (13,)),
    "deflate without its head": (asked(message(zlib.compress(b"x")[2:], 1), grpc_encoding="deflate"), (13,)),
    "a timeout of words": (call(1, ONE, b"x", grpc_timeout="soon"), (13,)),
    "a timeout below zero": (call(1, ONE, b"x", grpc_timeout="-1S"), (13,)),
    "a timeout of nothing": (call(1, ONE, b"x", grpc_timeout="0S"), (4,)),
    "bytes in metadata that are none": (call(1, INFER, METADATA, **{"a-bin": "!!!"}), (13,)),
    "four gigabytes announced": (
        frame(HEADERS, END_HEADERS, 1, block(asking(ONE))) + frame(DATA, 0, 1, struct.pack(">BI", 0, 0xFFFFFFFF)),
        (8,),
    ),
    "a path that is none": (call(1, "nothing"), (12,)),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_mistake_in_a_call_is_that_calls_status(server: Running, case: str):
    frames, codes = REFUSED[case]
    connection = await http2.connect(server.port)
    connection.send(frames)
    async with asyncio.timeout(20):
        answer = await connection.answer(1)
        assert answer.status in codes
        connection.send(call(3, LIVE))
        assert (await connection.answer(3)).status == 0, "the connection goes on"
    await connection.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_what_is_no_post_is_not_answered_as_a_call(server: Running, method: str):
    connection = await http2.connect(server.port)
    connection.send(call(1, LIVE, **{":method": method}))
    async with asyncio.timeout(20):
        answer = await connection.answer(1)
        assert answer.status != 0
        assert not answer.content.startswith(b"\0")
        connection.send(call(3, LIVE))
        assert (await connection.answer(3)).status == 0
    await connection.close()


NO_HTTP2 = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(196),
    "a preface with a fault": http2.PREFACE.replace(b"SM", b"XX") + http2.settings(),
    "zeros": bytes(100),
    "a frame first": http2.settings() + call(1, LIVE),
}


@pytest.mark.parametrize("given", NO_HTTP2)
async def test_who_does_not_speak_http2_is_cut_off_and_nobody_else(server: Running, stub: oip.Stub, given: str):
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(NO_HTTP2[given])
    async with asyncio.timeout(20):
        said = b""
        with suppress(ConnectionError):
            said = await reader.read()
    assert b"grpc-status" not in said
    writer.transport.abort()
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live


async def test_what_arrives_byte_by_byte_is_the_same(server: Running):
    everything = http2.PREFACE + http2.settings() + call(1, ONE, b"slowly") + call(3, ONE, b"but surely")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = http2.Connection(reader, writer)
    for n in range(len(everything)):
        writer.write(everything[n : n + 1])
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await connection.answer(3)
        while 1 not in connection.answers or connection.answers[1].status is None:
            await connection.frame()
    assert connection.answers[1].content == message(b"slowly")
    assert connection.answers[3].content == message(b"but surely")
    await connection.close()


async def test_a_thousand_calls_in_one_write_are_answered_each(server: Running):
    connection = await http2.connect(server.port)
    streams = range(1, 2001, 2)
    for first in range(0, 1000, 100):
        hundred = streams[first : first + 100]
        connection.send(*(call(stream, ONE, str(stream).encode()) for stream in hundred))
        async with asyncio.timeout(30):
            for stream in hundred:
                while stream not in connection.answers or connection.answers[stream].status is None:
                    got = await connection.frame()
                    if got.kind == DATA and got.payload:
                        connection.send(http2.window(0, len(got.payload)))
    assert all(connection.answers[stream].content == message(str(stream).encode()) for stream in streams)
    await connection.close()


async def test_a_window_of_one_byte_lets_one_byte_through(server: Running):
    connection = await http2.connect(server.port, http2.settings(initial_window=1))
    connection.send(call(1, ONE, b"xyz"))
    async with asyncio.timeout(20):
        for _ in range(len(message(b"xyz"))):
            got = await connection.until(DATA)
            assert len(got.payload) == 1
            connection.send(http2.window(1, 1))
        answer = await connection.answer(1)
    assert (answer.status, answer.content) == (0, message(b"xyz"))
    await connection.close()
