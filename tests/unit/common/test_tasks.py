"""Background tasks end."""

from __future__ import annotations

import asyncio

from gyrostat_common.tasks import ended


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await ended(task)
    assert task.cancelled()
    assert swallowed.is_set()


async def test_a_failed_task_is_ended_without_noise() -> None:
    async def fails() -> None:
        raise ValueError("gone")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await ended(task)
    assert task.done()
