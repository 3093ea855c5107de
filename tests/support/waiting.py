"""Waits for what comes from another task or process, by looking again; the only place in the tests that does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], object | Awaitable[object]], within_s: float = 30.0) -> None:
    """Returns as soon as the condition holds; fails when it does not within the time."""
    async with asyncio.timeout(within_s):
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.005)
