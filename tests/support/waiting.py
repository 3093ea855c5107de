"""Waits for what comes from another task or process, by looking again; the only place in the tests that does.

A limit costs only when a test fails, so it is generous; the failure says what was seen last.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
WITHIN_S = 90.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.1


@overload
async def eventually(look: Callable[[], Awaitable[T | None]], what: str = ..., *, within_s: float = ...) -> T: ...
@overload
async def eventually(look: Callable[[], object], what: str = ..., *, within_s: float = ...) -> object: ...
async def eventually(look: Callable[[], Any], what: str = "what was waited for", *, within_s: float = WITHIN_S) -> Any:
    """Looks until what it sees is true, and returns it. Raises AssertionError with `what` and what was seen last."""
    return await _until(look, bool, what, within_s)


async def becomes(look: Callable[[], T | Awaitable[T]], wanted: T, *, within_s: float = WITHIN_S) -> None:
    """Looks until it sees `wanted`. Raises AssertionError with what was seen last."""
    await _until(look, lambda seen: seen == wanted, f"{wanted!r}", within_s)


async def _until(look: Callable[[], Any], enough: Callable[[Any], bool], what: str, within_s: float) -> Any:
    last, pause = "nothing, the first look did not come back", FIRST_PAUSE_S
    try:
        async with asyncio.timeout(within_s) as limit:
            while True:
                seen = look()
                found = await seen if inspect.isawaitable(seen) else seen
                if enough(found):
                    return found
                last = repr(found)
                await asyncio.sleep(pause)
                # What is waited for often runs in this very loop: looking must not take its time.
                pause = min(pause * 1.5, LONGEST_PAUSE_S)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"after {within_s:g} s still not: {what}; last seen: {last}") from None
