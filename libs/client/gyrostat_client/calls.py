"""One call to one service: channel, deadline, request id, pages, errors in words of the domain.

The nouns of the SDK (`models`, `versions`, …) are written on top of this and know no channel.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from gyrostat_client.errors import Unreachable, translate

R = TypeVar("R", bound=Message)


class Page(Protocol):
    """A reply of a List call."""

    next_page_token: str


P = TypeVar("P", bound=Page)
T = TypeVar("T")


def new_request_id() -> str:
    """A fresh id that makes a repeat of a mutating call safe."""
    return str(uuid.uuid4())


class Endpoint:
    """A service at an address. The channel is opened by `dial` at the first call and closed by `close`."""

    def __init__(
        self,
        service: str,
        grpc_service: str,
        address: str,
        timeout_s: float,
        dial: Callable[[str], AbstractAsyncContextManager[grpc.aio.Channel]],
    ) -> None:
        self.service = service
        self.address = address
        self.timeout_s = timeout_s
        self._grpc_service = grpc_service
        self._dial = dial
        self._opened: AbstractAsyncContextManager[grpc.aio.Channel] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Closes the channel, if one was opened."""
        if self._opened is not None:
            opened, self._opened, self._channel = self._opened, None, None
            await opened.__aexit__(None, None, None)

    async def unary(self, method: str, request: Message, reply: type[R], *, timeout_s: float | None = None) -> R:
        """One request, one reply; raises the kinds of `gyrostat_common.errors`."""
        call = (await self.channel()).unary_unary(self._path(method), _serialize, reply.FromString)
        try:
            return await call(request, timeout=timeout_s or self.timeout_s)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            raise translate(error, self.service, self.address) from None

    async def server_stream(
        self, method: str, request: Message, reply: type[R], *, timeout_s: float | None = None
    ) -> AsyncIterator[R]:
        """One request, many replies; without a deadline unless one is given."""
        call = (await self.channel()).unary_stream(self._path(method), _serialize, reply.FromString)
        try:
            async for message in call(request, timeout=timeout_s):
                yield message
        except grpc.RpcError as error:
            raise translate(error, self.service, self.address) from None

    async def client_stream(
        self, method: str, requests: AsyncIterator[Message], reply: type[R], *, timeout_s: float = 600.0
    ) -> R:
        """Many requests, one reply."""
        call = (await self.channel()).stream_unary(self._path(method), _serialize, reply.FromString)
        try:
            return await call(requests, timeout=timeout_s)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            raise translate(error, self.service, self.address) from None

    async def wait_until_reachable(self, timeout_s: float) -> None:
        """Returns when the channel is connected; raises Unreachable after `timeout_s`."""
        try:
            await asyncio.wait_for((await self.channel()).channel_ready(), timeout_s)
        except TimeoutError:
            raise Unreachable(self.service, self.address) from None

    async def channel(self) -> grpc.aio.Channel:
        """The open channel."""
        async with self._lock:
            if self._channel is None:
                opened = self._dial(self.address)
                self._channel, self._opened = await opened.__aenter__(), opened
            return self._channel

    def _path(self, method: str) -> str:
        return method if method.startswith("/") else f"/{self._grpc_service}/{method}"


async def pages(
    fetch: Callable[[int, str], Awaitable[P]], items: Callable[[P], Iterable[T]], limit: int | None
) -> Sequence[T]:
    """Reads pages until `limit` items are there (None: all). `fetch(size, token)` asks for one."""
    found: list[T] = []
    token = ""
    while limit is None or len(found) < limit:
        size = 1000 if limit is None else min(1000, limit - len(found))
        page = await fetch(size, token)
        found.extend(items(page))
        token = page.next_page_token
        if not token:
            break
    return found if limit is None else found[:limit]


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
