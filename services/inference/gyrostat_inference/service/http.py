"""HTTP/1.1 for the REST twin: reads whole requests within limits of size and time, has them answered, and writes whole
replies. The protocol is aiohttp's; what it says to a broken request is JSON as all other errors are.
"""

import asyncio
import json
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from gyrostat_common import telemetry
from gyrostat_common.errors import CannotStart
from gyrostat_common.rpc.context import MAX_MESSAGE_BYTES
from gyrostat_common.tls import Certificates
from gyrostat_inference.service.packing import ACCEPTED, NotPacked, packing, unpacked

log = telemetry.get_logger("rest")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may cost. A body counts as it is after decompression."""

    body_bytes: int = MAX_MESSAGE_BYTES
    all_bodies_bytes: int = 512 * 1024**2
    line_bytes: int = 8190
    headers: int = 64
    connections: int = 4096
    idle_s: float = 60.0
    """Between two requests of a connection, and for the head of a request to be there."""
    handshake_s: float = 10.0
    """Of TLS."""
    body_s: float = 30.0
    reply_s: float = 30.0
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is complete. `parts` is its path, each part decoded; names of headers compare without case."""

    method: str
    parts: tuple[str, ...]
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"
    route: str = ""
    """The pattern of the path, where there is one."""


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply; a last one closes the connection."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    last: bool = False


Answer = Callable[[Asked], Awaitable[Replied]]


def error(status: int, text: str, headers: Mapping[str, str] | None = None, last: bool = False) -> Replied:
    """{"error": text}."""
    return Replied(status, json.dumps({"error": text}).encode(), dict(headers or {}), last)


def context_of(shown: Certificates | None) -> ssl.SSLContext | None:
    """What a connection of the twin is opened with."""
    return None if shown is None else shown.context("http/1.1")


def secured(context: ssl.SSLContext | None, limits: Limits) -> dict[str, Any]:
    """What asyncio is told about TLS, when it opens a connection or a port."""
    return {} if context is None else {"ssl": context, "ssl_handshake_timeout": limits.handshake_s}


@asynccontextmanager
async def connections(answer: Answer, limits: Limits) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    """Makes the protocol of each connection, for whoever accepts them. At the end calls in flight have `grace_s`."""
    served = web.Server(_handler(answer, limits), handler_cancellation=True)
    try:
        yield lambda: _connection(served, limits)
    finally:
        served.pre_shutdown()  # who is idle goes at once
        await served.shutdown(limits.grace_s)


@asynccontextmanager
async def listening(
    address: str, answer: Answer, limits: Limits, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Answers on the address while the block runs, with TLS where there is a context; yields the port. Raises
    CannotStart when the port is taken."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    async with connections(answer, limits) as connection:
        try:
            server = await loop.create_server(
                connection, host.strip("[]") or None, int(port), backlog=1024, **secured(context, limits)
            )
        except (OSError, ValueError) as failed:
            raise CannotStart(
                f"cannot listen on {address}: stop what uses the port or choose another address"
            ) from failed
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


def _connection(served: web.Server, limits: Limits) -> asyncio.Protocol:
    if len(served.connections) >= limits.connections:
        return _Full()
    return _Connection(
        served,
        loop=asyncio.get_running_loop(),
        keepalive_timeout=limits.idle_s,
        access_log_class=_NoLines,
        max_line_size=limits.line_bytes,
        max_field_size=limits.line_bytes,
        max_headers=limits.headers,
        lingering_time=1.0,
        auto_decompress=False,  # aiohttp would unpack on the loop, and go on beyond every limit
    )


class _NoLines(AbstractAccessLogger):
    """What was called is said by the interceptor."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Nothing."""


class _Room:
    """For the bodies of all requests that are being read or answered, together."""

    def __init__(self, most_bytes: int) -> None:
        self.left_bytes = most_bytes

    @contextmanager
    def part(self) -> Iterator[Callable[[int], bool]]:
        """Takes bytes, and says whether there was room; given back when the block ends."""
        taken = 0

        def take(count: int) -> bool:
            nonlocal taken
            taken += count
            self.left_bytes -= count
            return self.left_bytes >= 0

        try:
            yield take
        finally:
            self.left_bytes += taken


class _Full(asyncio.Protocol):
    """Turns a connection away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = error(503, "too many connections; come back later").body
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)
        transport.close()


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A request that cannot be parsed, or a fault of ours."""
        if status >= 500:
            log.error("request_failed", status=status, exc_info=exc)
            return _response(error(status, "internal error", last=True))
        if isinstance(exc, HttpProcessingError) and "more than" in (message or ""):
            status = 431
        return _response(error(status, " ".join((message or "no HTTP request").split())[:300], last=True))


def _handler(answer: Answer, limits: Limits) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    room = _Room(limits.all_bodies_bytes)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        with room.part() as take:
            replied = await _read_and_answered(request, answer, limits, take)
        response = _response(replied)
        try:
            async with asyncio.timeout(limits.reply_s):  # a caller who does not read must not hold the reply for ever
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            response.force_close()
            if request.transport is not None:
                request.transport.abort()
        return response

    return handle


async def _read_and_answered(
    request: web.BaseRequest, answer: Answer, limits: Limits, take: Callable[[int], bool]
) -> Replied:
    declared = request.content_length
    too_large = error(413, f"the body is larger than {limits.body_bytes} bytes", last=True)
    if declared is not None and declared > limits.body_bytes:
        return too_large
    try:
        packed = packing(request.headers.get("Content-Encoding"))
    except LookupError as unknown:
        text = f"Content-Encoding {str(unknown)[:40]} is not taken; gzip and deflate are"
        return error(415, text, {"Accept-Encoding": ", ".join(ACCEPTED)}, last=True)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await _go_on(request)
    try:
        async with asyncio.timeout(limits.body_s):
            body = await _body(request, limits.body_bytes, take)
            if packed and body and not isinstance(body, int):
                body = await unpacked(body, packed, limits.body_bytes, take)
    except TimeoutError:
        return error(408, f"the body was not there within {limits.body_s:g} s", last=True)
    except NotPacked as failed:
        return error(400, f"the body cannot be read: {failed}", last=True)
    except web.RequestPayloadError as failed:
        return error(400, f"the body cannot be read: {str(failed.__cause__ or failed)[:200]}", last=True)
    if isinstance(body, int):
        busy = error(429, "too many large requests at once; come back later", {"Retry-After": "1"}, last=True)
        return busy if body <= limits.body_bytes else too_large
    path = request.rel_url.raw_path
    parts = tuple(unquote(part) for part in path.strip("/").split("/"))
    return await answer(Asked(request.method, parts, request.headers, body, request.scheme))


async def _body(request: web.BaseRequest, most_bytes: int, take: Callable[[int], bool]) -> bytes | int:
    """The body as it came, or its size so far when there is more than it or all may have."""
    if not request.body_exists:
        return b""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if not take(len(chunk)) or len(body) > most_bytes:
            return len(body)
    return bytes(body)


async def _go_on(request: web.BaseRequest) -> None:
    with suppress(ConnectionError):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the head of the reply is still to come


def _response(replied: Replied) -> web.Response:
    headers = {"Content-Type": "application/json"} | dict(replied.headers)
    response = web.Response(status=replied.status, body=replied.body, headers=headers)
    if replied.last:
        response.force_close()
    return response


def retry_after(milliseconds: Any) -> dict[str, str]:
    """The header for a hint in milliseconds; none for no hint."""
    try:
        return {"Retry-After": str(max(1, math.ceil(int(milliseconds) / 1000)))}
    except (TypeError, ValueError):
        return {}
