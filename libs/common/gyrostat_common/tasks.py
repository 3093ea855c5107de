"""Ends work for certain, or gives it up in time: what a library awaits may swallow a cancellation or wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gyrostat_common import telemetry

log = telemetry.get_logger("tasks")
END_WITHIN_S = 10.0


async def ended(task: asyncio.Task[Any], within_s: float = END_WITHIN_S) -> None:
    """Cancels until the task is done, but no longer than this; its outcome is dropped.

    Again and again, because what a task awaits can swallow a cancellation (`asyncio.wait_for` of Python 3.11 does
    when it comes in the same moment as the result). A task that goes on for all that is left behind, with a line.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while not task.done() and loop.time() < until:
        task.cancel()
        await asyncio.wait({task}, timeout=min(1.0, max(0.0, until - loop.time())))
    if not task.done():
        log.error("task_left_behind", task=task.get_name(), after_s=within_s)
    elif not task.cancelled():
        task.exception()  # looked at, so that nobody is told it never was


async def within(seconds: float, work: Coroutine[Any, Any, Any], name: str) -> bool:
    """Runs the work for so long at most, whatever it does with its cancellation. True: it came to its own end.

    Raises what the work raises. A work that is given up is cancelled and, if it will not go, left behind.
    """
    task = asyncio.create_task(work, name=name)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            await ended(task, within_s=min(1.0, seconds))
            done = False
        else:
            done = True
    if done and not task.cancelled():
        task.result()
    return done
