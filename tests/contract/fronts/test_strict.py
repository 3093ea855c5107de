"""Where grpcio lets things pass, or hangs, our own front keeps to RFC 9113 and to gRPC's protocol."""

from __future__ import annotations

import asyncio

import pytest

from support import http2
from support.echo import BYTES, NAME
from support.fronts import Running
from support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PROTOCOL_ERROR,
    asking,
    block,
    call,
    frame,
    message,
)

LIVE, ONE = f"/{NAME}/ServerLive", f"/{BYTES}/One"
START = frame(HEADERS, END_HEADERS, 1, block(asking(ONE)))


@pytest.fixture
def front() -> str:
    """This one alone."""
    return "own"


def ending(content: bytes, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, 1, content)


STATUSES = {
    "an encoding that nobody knows": (call(1, ONE, b"x", grpc_encoding="snoppy"), 12),
    "a flag that nobody knows": (START + ending(message(b"x", 7)), 13),
    "two messages": (START + ending(message(b"x") + message(b"y")), 12),
    "no message": (frame(HEADERS, END_HEADERS | END_STREAM, 1, block(asking(ONE))), 12),
    "a message cut short": (START + ending(message(b"xxxxx")[:7]), 13),
    "a head cut short": (START + ending(b"\0\0"), 13),
    "a timeout of nine digits": (call(1, ONE, b"x", grpc_timeout="123456789S"), 13),
}
RESETS = {
    "a name in capitals": call(1, LIVE, Upper="x"),
    "a header of the connection": call(1, LIVE, connection="close"),
    "te that is not trailers": call(1, LIVE, te="gzip"),
    "a length that is not so": call(1, LIVE, content_length="3"),
    "a path that is empty": frame(HEADERS, END_HEADERS | END_STREAM, 1, block([*asking(""), (":path", "")])),
    "no method": call(1, LIVE, **{":method": ""}),
    "a pseudo-header behind the others": frame(
        HEADERS, END_HEADERS | END_STREAM, 1, block([*asking(LIVE, **{":authority": ""}), (":authority", "x")])
    ),
    "a zero in a value": call(1, LIVE, x="a\0b"),
    "a line end in a value": call(1, LIVE, x="a\r\nb"),
}


async def answered(server: Running, frames: bytes) -> http2.Answer:
    """What comes back; the connection is still good for another call."""
    connection = await http2.connect(server.port)
    connection.send(frames)
    async with asyncio.timeout(20):
        answer = await connection.answer(1)
        connection.send(call(3, LIVE))
        assert (await connection.answer(3)).status == 0
    await connection.close()
    return answer


@pytest.mark.parametrize("case", STATUSES)
async def test_a_mistake_of_grpc_is_a_status(server: Running, case: str):
    frames, status = STATUSES[case]
    assert (await answered(server, frames)).status == status


async def test_an_unknown_encoding_is_told_which_are_known(server: Running):
    answer = await answered(server, call(1, ONE, b"x", grpc_encoding="snoppy"))
    assert answer.fields["grpc-accept-encoding"].split(",") == ["identity", "deflate", "gzip"]


@pytest.mark.parametrize("case", RESETS)
async def test_a_mistake_of_http_ends_the_stream(server: Running, case: str):
    answer = await answered(server, RESETS[case])
    assert (answer.reset, answer.status) == (PROTOCOL_ERROR, None)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/grpc-web", "application/json", "application/grpcx"])
async def test_another_content_type_is_415_in_words(server: Running, kind: str):
    answer = await answered(server, call(1, LIVE, content_type=kind))
    assert (answer.fields[":status"], answer.fields["content-type"]) == ("415", "text/plain")
    assert b"application/grpc" in answer.content


async def test_padding_is_no_message(server: Running):
    answer = await answered(server, START + ending(b"\x05" + message(b"pad") + bytes(5), END_STREAM | PADDED))
    assert (answer.status, answer.content) == (0, message(b"pad"))


async def test_a_list_of_bytes_in_metadata_is_several(server: Running):
    """As the protocol allows it: values of one name joined by commas."""
    from support.echo import a_request

    metadata = a_request("metadata").SerializeToString()
    answer = await answered(server, call(1, f"/{NAME}/ModelInfer", metadata, **{"echo-a-bin": "AAE,AAI"}))
    assert answer.status == 0
