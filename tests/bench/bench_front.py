"""What the front costs: an empty echo through a lane, 64 calls at once on 8 connections, in CPU of the server.

`.venv/bin/python tests/bench/bench_front.py [--runs 3] [--cpus 0,1] [--requests 80000]`: the server stays on the first
processor, the load on the last. The load's bytes are made beforehand, as three kinds of clients write them: the same
block every time; grpcio's, whose metadata vary without entering the table; one's whose varying field enters it, and who
goes on so although the front asks for a table of size 0.
Last, h2load where it is installed (Debian: nghttp2-client). Beside them the ceiling: a protocol on the same loop that
counts bytes and writes as many back. Every reply is counted by its bytes. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_front import Call, Server, hpack
from gyrostat_front.frames import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, settings
from gyrostat_front.messages import message_head
from support.measuring import Figure, begin
from support.measuring import arguments as measuring

PATH = b"/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS, STREAMS, BODY_BYTES = 8, 8, 140
REPLY_BYTES = 9 + 32 + 9 + 5 + BODY_BYTES + 9 + 15
REQUEST_BYTES = 9 + 6 + 9 + 5 + BODY_BYTES
READY = "ready"


def echo(call: Call) -> bool:
    """The lane."""
    call.reply(call.message)
    return True


class Counting(asyncio.Protocol):
    """What no front can go below: reads, and for each request that has come writes the bytes of a reply."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._got = transport, 0
        transport.write(frame(SETTINGS, 0, 0, bytes(24)) + bytes(13 + 9))

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        count, self._got = divmod(self._got, REQUEST_BYTES)
        self._transport.write(bytes(REPLY_BYTES * count))


async def serve() -> None:
    """Until killed; says its ports."""
    server = Server()
    server.add_lane(PATH.decode(), echo)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    counting = await asyncio.get_running_loop().create_server(Counting, "127.0.0.1", 0)
    print(READY, port, counting.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def _first(indexed: bool) -> bytes:
    """The fields that never change; in the table behind the first block when `indexed`."""
    fields = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"user-agent", b"bench/1")]
    block = b"\x83\x86" + (b"\x44" if indexed else b"\x04") + bytes((len(PATH),)) + PATH
    return block + b"".join(b"\x40" * indexed + hpack.field(*one)[indexed:] for one in fields)


def _repeating(number: int) -> bytes:
    return _first(True) if number == 0 else b"\x83\x86\xc1\xc0\xbf\xbe"


def _grpcio(number: int) -> bytes:
    """Four fields from the table, and two that are new each time and do not enter it."""
    trace = hpack.field(b"traceparent", b"00-%032x-%016x-00" % (number * 7919, number))
    return _repeating(number) + trace + hpack.field(b"x-request-id", b"%024x" % number)


def _obstinate(number: int) -> bytes:
    """All fields written again, the last into the table, as nghttp2 does until it is asked not to."""
    return _first(False) + b"\x40" + hpack.field(b"x-request-id", b"%024x" % number)[1:]


CLIENTS: dict[str, Callable[[int], bytes]] = {
    "headers repeating": _repeating,
    "headers varying, as grpcio writes them": _grpcio,
    "headers varying, into the table": _obstinate,
}


class Load(asyncio.Protocol):
    """One connection that keeps so many calls open until its requests are used up."""

    def __init__(self, block_of: Callable[[int], bytes], requests: int) -> None:
        body = message_head(False, BODY_BYTES) + bytes(BODY_BYTES)
        self._requests = [
            frame(HEADERS, END_HEADERS, 2 * n + 1, block_of(n)) + frame(DATA, END_STREAM, 2 * n + 1, body)
            for n in range(requests)
        ]
        self._sent = self._got = self._preface = 0
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(PREFACE + settings({4: 2**31 - 1}) + frame(8, 0, 0, b"\x7f\xff\x00\x00"))
        self._more(STREAMS)

    def _more(self, count: int) -> None:
        batch = self._requests[self._sent : self._sent + count]
        self._sent += len(batch)
        self._transport.write(b"".join(batch))

    def data_received(self, data: bytes) -> None:
        if not self._preface:  # the server's settings, window and the answer to ours come first
            self._preface = 9 + 24 + 13 + 9
            assert data[3] == SETTINGS
            self._transport.write(frame(SETTINGS, ACK, 0))
            self._got -= self._preface
        self._got += len(data)
        answered = max(0, self._got) // REPLY_BYTES
        new, self.answered = answered - self.answered, answered
        if answered >= len(self._requests) and not self.done.done():
            self.done.set_result(None)
        elif new and self._sent < len(self._requests):
            self._more(new)


async def load(port: int, block_of: Callable[[int], bytes], requests: int) -> None:
    """All requests, answered."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Load(block_of, requests // CONNECTIONS), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    async with asyncio.timeout(120):
        await asyncio.gather(*(one.done for _, one in made))
    for transport, _ in made:
        transport.close()


def measured(server: psutil.Process, requests: int, work: Callable[[], object]) -> float:
    """CPU µs of the server for each request."""
    before = server.cpu_times()
    work()
    after = server.cpu_times()
    return (after.user + after.system - before.user - before.system) / requests * 1e6


def h2load(port: int, requests: int) -> None:
    """The same by nghttp2's generator."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(message_head(False, BODY_BYTES) + bytes(BODY_BYTES))
        body.flush()
        url = f"http://127.0.0.1:{port}{PATH.decode()}"
        command = ["h2load", "-n", str(requests), "-c", str(CONNECTIONS), "-m", str(STREAMS), "-d", body.name]
        command += ["-H", "te: trailers", "-H", "content-type: application/grpc", url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"{requests} succeeded" in said, said


def main() -> None:
    """Run the command line."""
    parser = measuring(__doc__, runs=3)
    parser.add_argument("--requests", type=int, default=80_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    cpus = arguments.cpus.split(",") if arguments.cpus else ["", ""]
    begin("front, an empty echo through a lane", cpus[-1])
    pinned = ["taskset", "-c", cpus[0]] if cpus[0] else []
    with subprocess.Popen([*pinned, sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, counting = map(int, process.stdout.readline().split()[1:])
        server, requests = psutil.Process(process.pid), arguments.requests
        kinds: dict[str, Callable[[], object]] = {
            "ceiling: bytes counted, none read": lambda: uvloop.run(load(counting, _repeating, requests))
        }
        for name, made in CLIENTS.items():
            kinds[name] = lambda made=made: uvloop.run(load(port, made, requests))  # type: ignore[misc]
        if shutil.which("h2load"):
            kinds["headers repeating, h2load"] = lambda: h2load(port, requests)
        ceiling: Figure | None = None
        for name, work in kinds.items():
            measured(server, requests, work)
            values = tuple(measured(server, requests, work) for _ in range(arguments.runs))
            figure = Figure(name, "µs/call", values)
            print(figure.line(ceiling))
            ceiling = ceiling or figure
        process.terminate()


if __name__ == "__main__":
    main()
