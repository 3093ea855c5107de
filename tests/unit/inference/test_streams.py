"""Requests of a stream side by side: replies in order, so many in flight, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.service.streams import in_order


async def numbers(count: int, read: list[int] | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if read is not None:
            read.append(number)
        yield number


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 8))
def test_replies_come_in_the_order_of_requests_however_long_each_takes(turns: list[int], most: int) -> None:
    async def check() -> None:
        flying, highest = 0, 0

        async def answer(number: int) -> int:
            nonlocal flying, highest
            flying += 1
            highest = max(highest, flying)
            for _ in range(turns[number]):
                await asyncio.sleep(0)
            flying -= 1
            return number

        assert [reply async for reply in in_order(numbers(len(turns)), answer, most)] == list(range(len(turns)))
        assert highest <= most

    asyncio.run(check())


async def test_who_takes_no_replies_is_read_no_further() -> None:
    read: list[int] = []

    async def answer(number: int) -> int:
        return number

    replies = in_order(numbers(10_000, read), answer, 4)
    assert await anext(replies) == 0
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(read) <= 5
    await replies.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_what_an_answer_raises_ends_the_stream_and_those_beside_it() -> None:
    ended: list[int] = []

    async def answer(number: int) -> int:
        if number == 1:
            raise ArithmeticError("of ours")
        try:
            await asyncio.sleep(0 if number == 0 else 3600)
        except asyncio.CancelledError:
            ended.append(number)
            raise
        return number

    replies = in_order(numbers(10), answer, 4)
    assert await anext(replies) == 0
    with pytest.raises(ArithmeticError):
        await anext(replies)
    assert set(ended) <= {2, 3, 4}
    assert len(asyncio.all_tasks()) == 1


async def test_what_the_stream_raises_comes_after_the_replies_to_what_it_brought() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 7
        raise ConnectionError("gone")

    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        return number

    replies = in_order(broken(), answer)
    assert await anext(replies) == 7
    with pytest.raises(ConnectionError):
        await anext(replies)
