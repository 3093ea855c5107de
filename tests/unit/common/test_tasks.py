"""Background tasks end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gyrostat_common.tasks import ended, within


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


async def test_work_that_is_given_up_is_left_behind_even_when_it_will_not_go() -> None:
    go = asyncio.Event()

    async def deaf() -> None:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    async with asyncio.timeout(5):
        assert await within(0.01, deaf(), "deaf") is False
    go.set()


async def test_work_that_ends_in_time_says_how() -> None:
    async def failing() -> None:
        raise ValueError("a bug")

    assert await within(5, asyncio.sleep(0), "quick") is True
    with pytest.raises(ValueError, match="a bug"):
        await within(5, failing(), "failing")
