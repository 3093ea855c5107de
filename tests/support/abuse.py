"""What a hostile peer does to a front, as coroutines: each takes a port, does its worst, and ends by itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from gyrostat_common import oip
from support import http2
from support.echo import BYTES, NAME, a_request, an_echo
from support.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    Connection,
    asking,
    block,
    call,
    frame,
    message,
    reset,
    settings,
    window,
)

LIVE, INFER, ONE = f"/{NAME}/ServerLive", f"/{NAME}/ModelInfer", f"/{BYTES}/One"
PATIENCE_S = 20.0
AT_ONCE = 200


class Peers:
    """Connections that are opened together and closed together."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.all: list[Connection] = []

    async def join(self, count: int, first: bytes, *, read: bool = True) -> None:
        """So many more, each saying `first`. `read`: False stops reading what comes back."""
        for start in range(0, count, AT_ONCE):
            new = range(start, min(start + AT_ONCE, count))
            for reader, writer in await asyncio.gather(*(self._one() for _ in new)):
                writer.write(first)
                if not read:
                    writer.transport.pause_reading()
                self.all.append(Connection(reader, writer))

    async def _one(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # the kernel would take megabytes unread
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", self._port))
        return await asyncio.open_connection(sock=ours)

    def say(self, *pieces: bytes) -> None:
        """All of them say it."""
        for peer in self.all:
            if not peer.writer.transport.is_closing():
                peer.send(*pieces)

    async def ended(self) -> set[int | None]:
        """Waits until the server has ended every one; the codes of their GOAWAYs."""
        async with asyncio.timeout(PATIENCE_S):
            return set(await asyncio.gather(*(peer.closed() for peer in self.all)))


@asynccontextmanager
async def peers(port: int) -> AsyncIterator[Peers]:
    """Closed without a word at the end."""
    joined = Peers(port)
    try:
        yield joined
    finally:
        for peer in joined.all:
            peer.writer.transport.abort()


Codes = set[int | None]
Attack = Callable[[int], Awaitable[Codes]]


async def half_open(port: int) -> Codes:
    """Two thousand that connect and say nothing."""
    async with peers(port) as many:
        await many.join(2000, b"")
        return await many.ended()


async def slow(port: int) -> Codes:
    """Five hundred that send a header block, a byte at a time."""
    head = frame(HEADERS, END_HEADERS, 1, block(asking(LIVE, x="y" * 4000)))
    async with peers(port) as many:
        await many.join(500, PREFACE + settings())

        async def drip() -> None:
            for at in range(len(head)):
                many.say(head[at : at + 1])
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            return await many.ended()
        finally:
            dripping.cancel()


async def slow_requests(port: int) -> Codes:
    """Two hundred that begin twenty requests each and never end them. The streams end, the connections need not."""
    begun = b"".join(
        frame(HEADERS, END_HEADERS, stream, block(asking(ONE))) + frame(DATA, 0, stream, message(bytes(1000))[:500])
        for stream in range(1, 41, 2)
    )
    async with peers(port) as many:
        await many.join(200, PREFACE + settings() + begun)
        async with asyncio.timeout(PATIENCE_S):
            for peer in many.all:
                while len([one for one in peer.answers.values() if one.reset is not None or one.status]) < 20:
                    await peer.frame()
    return set()


async def never_reading(port: int) -> Codes:
    """Fifty that ask for 600 MB together, open their windows wide, and read none of it."""
    wide = settings(initial_window=2**31 - 1) + window(0, 2**31 - 1 - 65_535)
    asked = a_request("size", bytes=100_000).SerializeToString()
    calls = b"".join(call(stream, INFER, asked) for stream in range(1, 241, 2))
    async with peers(port) as many:
        await many.join(50, PREFACE + wide + frame(SETTINGS, 1) + calls, read=False)
        return await _all_stop(many)


async def closed_windows(port: int) -> Codes:
    """A hundred that ask for 600 MB together and open no window beyond the first."""
    asked = a_request("size", bytes=100_000).SerializeToString()
    calls = b"".join(call(stream, INFER, asked) for stream in range(1, 121, 2))
    async with peers(port) as many:
        await many.join(100, PREFACE + settings(initial_window=0) + calls)
        return await many.ended()


async def _all_stop(many: Peers) -> Codes:
    """Until the server has lost its patience with each; reading would be taking."""

    async def stopped(peer: Connection) -> int | None:
        while not peer.writer.transport.is_closing():
            peer.send(frame(PING, 0, 0, bytes(8)))
            await asyncio.sleep(0.1)
        return None

    async with asyncio.timeout(PATIENCE_S):
        return set(await asyncio.gather(*(stopped(peer) for peer in many.all)))


def _flood(pieces: Callable[[int], bytes], first: bytes = b"", rounds: int = 400) -> Attack:
    async def flood(port: int) -> Codes:
        async with peers(port) as many:
            await many.join(5, PREFACE + settings() + first)
            for number in range(rounds):
                many.say(pieces(number))
                if all(peer.writer.transport.is_closing() for peer in many.all):
                    break
                await asyncio.sleep(0)
            return await many.ended()

    return flood


def _opened_and_taken_back(number: int) -> bytes:
    streams = range(200 * number + 1, 200 * number + 201, 2)
    head = block(asking(LIVE))
    return b"".join(frame(HEADERS, END_HEADERS, stream, head) + reset(stream) for stream in streams)


async def hpack_bomb(port: int) -> Codes:
    """Blocks of 16 kB that unfold to 60 MB each: one large entry of the table, named again and again."""
    entry = b"\x40" + http2.integer(1, 7) + b"x" + http2.integer(4000, 7) + b"y" * 4000
    bomb = block(asking(LIVE)) + entry + b"\xbe" * 12_000
    async with peers(port) as many:
        await many.join(20, PREFACE + settings())
        for number in range(20):
            many.say(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, bomb))
        async with asyncio.timeout(PATIENCE_S):
            for peer in many.all:
                with suppress(http2.Closed):
                    while len([stream for stream, one in peer.answers.items() if stream and _refused(one)]) < 20:
                        await peer.frame()
    return set()


def _refused(answer: http2.Answer) -> bool:
    return answer.reset is not None or answer.status not in (None, 0)


async def giant_header(port: int) -> Codes:
    """A header of ten megabytes, in frames of 16 kB."""
    async with peers(port) as many:
        await many.join(20, PREFACE + settings())
        many.say(frame(HEADERS, END_STREAM, 1, block(asking(LIVE)) + b"\0" + b"\x01x" + http2.integer(10_000_000, 7)))
        for _ in range(640):
            many.say(frame(CONTINUATION, 0, 1, b"y" * 16_000))
            await asyncio.sleep(0)
        return await many.ended()


async def idle(port: int) -> Codes:
    """Two thousand that have greeted and then do nothing, which is allowed."""
    async with peers(port) as many:
        await many.join(2000, PREFACE + settings() + call(1, LIVE))
        async with asyncio.timeout(PATIENCE_S):
            for peer in many.all:
                assert (await peer.answer(1)).status == 0
    return set()


async def headers_never_twice(port: int) -> Codes:
    """Fifty, with three hundred calls each, whose headers are never the same: nothing is worth remembering."""
    async with peers(port) as many:
        await many.join(50, PREFACE + settings())
        for first in range(0, 300, 50):
            for number, peer in enumerate(many.all):
                peer.send(*(call(2 * n + 1, LIVE, x=f"{number}-{n}-" + "z" * 800) for n in range(first, first + 50)))
            async with asyncio.timeout(PATIENCE_S):
                for peer in many.all:
                    await peer.answer(2 * (first + 49) + 1)
    return set()


async def half_messages(port: int) -> Codes:
    """A hundred that send half of thirty large messages each, 600 MB together, as fast as windows let them."""
    half = message(bytes(400_000))[:200_000]
    async with peers(port) as many:
        await many.join(100, PREFACE + settings())
        for stream in range(1, 61, 2):
            head = frame(HEADERS, END_HEADERS, stream, block(asking(ONE)))
            pieces = [frame(DATA, 0, stream, half[at : at + 16_000]) for at in range(0, len(half), 16_000)]
            many.say(head, *pieces)
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            for peer in many.all:
                with suppress(http2.Closed):
                    while not any(_refused(one) for stream, one in peer.answers.items() if stream):
                        await peer.frame()
    return set()


EMPTY_STREAM = frame(HEADERS, END_HEADERS, 1, block(asking(ONE)))
FLOODS: dict[str, Attack] = {
    "rapid reset": _flood(_opened_and_taken_back),
    "CONTINUATION without end": _flood(
        lambda n: frame(CONTINUATION, 0, 1, b"") * 100, frame(HEADERS, END_STREAM, 1, block(asking(LIVE)))
    ),
    "PING": _flood(lambda n: frame(PING, 0, 0, bytes(8)) * 200),
    "SETTINGS": _flood(lambda n: settings(initial_window=65_535) * 200),
    "PRIORITY": _flood(lambda n: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 200),
    "empty DATA": _flood(lambda n: frame(DATA, 0, 1) * 200, EMPTY_STREAM),
    "RST_STREAM of what is closed": _flood(lambda n: reset(1) * 200, call(1, LIVE)),
    "unknown frames": _flood(lambda n: frame(0xEE) * 200),
}


def resident_bytes(pid: int, most: bool = False) -> int:
    """What the process has in memory; or the most it had since `forget_most`."""
    name = "VmHWM:" if most else "VmRSS:"
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def forget_most(pid: int) -> None:
    """From now on counts anew what a process has at most."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    """Open files and sockets of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


async def answered_meanwhile(port: int, end: asyncio.Event) -> list[float]:
    """Seconds that each of an honest client's calls took, one after the other, until the end. Fails when one does."""
    took = []
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = oip.Stub(channel)
        while not end.is_set():
            started = loop.time()
            await stub.ModelInfer(an_echo(b"honest"), timeout=PATIENCE_S)
            took.append(loop.time() - started)
            with suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), 0.05)
    return took


def kinds(of: Iterable[Attack]) -> dict[str, Attack]:
    """By the names of the functions."""
    return {one.__name__.replace("_", " "): one for one in of}
