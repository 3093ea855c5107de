"""Ends a background task for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancels until the task is done; its outcome is dropped.

    Again and again, because what a task awaits can swallow a cancellation (`asyncio.wait_for` of Python 3.11 does
    when it comes in the same moment as the result).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    if not task.cancelled():
        task.exception()  # looked at, so that nobody is told it never was
