"""A stream of requests answered side by side, with the replies in the order of the requests.

So many may be in flight, and no more: while replies are not taken, no further request is read, and the transport's flow
control holds the caller back.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")
MOST_IN_FLIGHT = 16


async def in_order(
    requests: AsyncIterator[Q], answer: Callable[[Q], Coroutine[Any, Any, R]], most: int = MOST_IN_FLIGHT
) -> AsyncGenerator[R, None]:
    """One reply per request. What `answer` or the stream raises ends all of it; closing ends those in flight."""
    reading = _Reading(requests, answer, most)
    reader = asyncio.create_task(reading.run(), name="read a stream")
    try:
        while (task := await reading.oldest()) is not None:
            yield await task
            reading.taken()
        await reader  # raises what the stream raised
    finally:
        left = [reader, *reading.tasks]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Reading(Generic[Q, R]):
    """Reads requests, and begins to answer each, while there is room."""

    def __init__(self, requests: AsyncIterator[Q], answer: Callable[[Q], Coroutine[Any, Any, R]], most: int) -> None:
        self._requests, self._answer = requests, answer
        self._room = asyncio.Semaphore(most)
        self._more = asyncio.Event()
        self._over = False
        self.tasks: deque[asyncio.Task[R]] = deque()

    async def run(self) -> None:
        """Until the stream ends."""
        try:
            await self._room.acquire()
            async for request in self._requests:
                self.tasks.append(asyncio.create_task(self._answer(request), name="answer of a stream"))
                self._more.set()
                await self._room.acquire()
        finally:
            self._over = True
            self._more.set()

    async def oldest(self) -> asyncio.Task[R] | None:
        """The answer that is next in order; None when the stream is over and every answer was taken."""
        while not self.tasks:
            if self._over:
                return None
            self._more.clear()
            await self._more.wait()
        return self.tasks[0]

    def taken(self) -> None:
        """The oldest has left: there is room for another."""
        self.tasks.popleft()
        self._room.release()
