"""Calls other services: a deadline on every call, trace and actor sent along, repeats only where they are safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from opentelemetry.trace import SpanKind

from gyrostat_common import telemetry
from gyrostat_common.addresses import TLS
from gyrostat_common.rpc.context import ACTOR, MAX_MESSAGE_BYTES, remaining_s
from gyrostat_common.rpc.status import error_from

log = telemetry.get_logger("rpc.client")
TRIES = 4
FIRST_DELAY_S = 0.1
_READS = ("Get", "List", "Watch", "Server", "ModelReady", "ModelMetadata", "Check")


class _Details(grpc.aio.ClientCallDetails):
    """Call details with other values."""


def repeatable(method: str, request: Any) -> bool:
    """A read, or a call that carries a request id and so is answered from the stored reply."""
    name = method.rpartition("/")[2]
    return name.startswith(_READS) or bool(getattr(request, "request_id", ""))


class _Calling:
    def __init__(self, actor: str, timeout_s: float, tries: int, first_delay_s: float) -> None:
        self._actor, self._timeout_s, self._tries, self._first_delay_s = actor, timeout_s, tries, first_delay_s

    def _details(self, details: grpc.aio.ClientCallDetails, unlimited: bool = False) -> _Details:
        timeout = details.timeout
        if timeout is None and not unlimited:
            timeout = self._timeout_s
        left = remaining_s()
        if left is not None and timeout is not None:
            timeout = max(0.0, min(timeout, left))
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        if ACTOR not in metadata:
            metadata.add(ACTOR, self._actor)
        traceparent = telemetry.current_traceparent()
        if traceparent and "traceparent" not in metadata:
            metadata.add("traceparent", traceparent)
        return _Details(details.method, timeout, metadata, details.credentials, details.wait_for_ready)


class _UnaryUnary(_Calling, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        method = _text(details.method)
        with _client_span(method):
            sent = self._details(details)
            tries = self._tries if repeatable(method, request) else 1
            loop = asyncio.get_running_loop()
            until = loop.time() + (sent.timeout or 0.0)
            delay = self._first_delay_s
            for left in range(tries - 1, -1, -1):
                call = await continuation(sent, request)
                if await call.code() is not grpc.StatusCode.UNAVAILABLE or not left:
                    return call
                pause = delay * random.uniform(0.5, 1.5)
                if loop.time() + pause >= until:
                    return call
                log.info("call_repeated", method=method, left=left)
                await asyncio.sleep(pause)
                delay *= 2
                left_s = max(0.001, until - loop.time())
                sent = _Details(sent.method, left_s, sent.metadata, sent.credentials, sent.wait_for_ready)
            raise AssertionError("unreachable")


class _UnaryStream(_Calling, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(  # type: ignore[override]
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        sent = self._details(details, unlimited=True)
        tries = self._tries if repeatable(_text(details.method), request) else 1
        delay = self._first_delay_s
        while True:
            tries -= 1
            call = await continuation(sent, request)
            try:
                await call.wait_for_connection()
                return call
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or tries < 1:
                    return call  # reading it raises
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay *= 2


class _StreamUnary(_Calling, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, requests: Any
    ) -> Any:
        return await continuation(self._details(details, unlimited=True), requests)


class _StreamStream(_Calling, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(  # type: ignore[override]
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, requests: Any
    ) -> Any:
        return await continuation(self._details(details, unlimited=True), requests)


@asynccontextmanager
async def connect(
    address: str,
    *,
    actor: str = "gyrostat",
    timeout_s: float = 10.0,
    tries: int = TRIES,
    first_delay_s: float = FIRST_DELAY_S,
    credentials: Callable[[], grpc.ChannelCredentials] = grpc.ssl_channel_credentials,
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel for generated stubs, with TLS to an address such as tls://host:port; does not wait for the server.
    `credentials` say whom to trust then and what to show; else it is whom the system trusts. Raises what they do.

    A unary call without a timeout gets `timeout_s`, and never more than the call that we are in has left. Streams have
    no deadline of their own. UNAVAILABLE is tried again with a jittered, growing pause if the call is a read or carries
    a request id, within the deadline.
    """
    arguments = (actor, timeout_s, tries, first_delay_s)
    interceptors: Any = [kind(*arguments) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", 0),  # the library would repeat what is not safe to repeat
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if address.startswith(TLS):
        name = address.removeprefix(TLS)
        opened = grpc.aio.secure_channel(name, credentials(), options=options, interceptors=interceptors)
    else:
        opened = grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    async with opened as channel:
        yield channel


@contextmanager
def as_errors() -> Iterator[None]:
    """Turns the callee's status into our kinds of error: NotFound, Unavailable, … For the room `clients`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        ours = error_from(error)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def _client_span(method: str) -> Iterator[None]:
    if not telemetry.sampled(telemetry.current_traceparent()):
        yield
        return
    service, _, name = method.lstrip("/").partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    with telemetry.span(method.lstrip("/"), SpanKind.CLIENT, attributes=attributes):
        yield


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
