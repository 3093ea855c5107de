"""Messages that cannot be read are their caller's fault, and are told so: INVALID_ARGUMENT on every front.

Left alone, gRPC's server says UNKNOWN and others INTERNAL, before anybody of ours sees the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from gyrostat_common.errors import GyrostatError, InvalidInput


class Undecoded:
    """Stands for a message that cannot be read."""

    __slots__ = ("error",)

    def __init__(self, error: GyrostatError) -> None:
        self.error = error


def reading(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The same for a server: what it cannot parse becomes Undecoded."""
    if parse is None:
        return None
    name = getattr(getattr(parse, "__self__", None), "__name__", "message of this method")

    def read(raw: bytes) -> Any:
        try:
            return parse(raw)
        except Exception as error:  # whatever a parser raises: the bytes are the caller's
            return Undecoded(InvalidInput(f"the message is no {name}: {error}"))

    return read


def readable(request: Any) -> Any:
    """The one request of a call. Raises InvalidInput."""
    if isinstance(request, Undecoded):
        raise request.error
    return request


async def each_readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Those of a call that streams them. Raises InvalidInput where one cannot be read."""
    async for request in requests:
        yield readable(request)


async def refused(request: Undecoded) -> AsyncIterator[Any]:
    """In place of a method's replies: raises InvalidInput."""
    raise request.error
    yield  # a stream, for who reads it
