"""Runs off the event loop: what takes long must not hold up the others. Threads of its own for each graph, so that one
that never ends takes none from another.
"""

import asyncio
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns, thread_time_ns
from typing import Any, NamedTuple

import numpy.typing as npt

from gyrostat_inference.domain.live import Scorer

Arrays = Sequence[npt.NDArray[Any]]


class Took(NamedTuple):
    """Nanoseconds of a run: by the clock, and of the processor. A thread that has run waits for the interpreter."""

    wall: int
    own: int


Back = Callable[[Arrays | BaseException, Took], None]


class _Pool:
    """The threads of one graph, and what is to be called when one of them is free."""

    def __init__(self, most: int) -> None:
        self.executor = ThreadPoolExecutor(most, "run graphs")
        self.busy = 0
        self.waiting: list[Callable[[], None]] = []


class Threads:
    """As many for each graph as there are cores."""

    def __init__(self, most: int = os.cpu_count() or 1) -> None:
        self._most = most
        self._pools: weakref.WeakKeyDictionary[Scorer, _Pool] = weakref.WeakKeyDictionary()

    def free(self, scorer: Scorer, otherwise: Callable[[], None]) -> bool:
        """Whether a run can begin; if not, `otherwise` is called once, as soon as one can."""
        pool = self._pools.get(scorer)
        if pool is None:
            pool = self._pools[scorer] = _Pool(self._most)
        if pool.busy < self._most:
            return True
        pool.waiting.append(otherwise)
        return False

    def start(
        self, scorer: Scorer, inputs: Mapping[str, npt.NDArray[Any]], gone: Callable[[], bool], back: Back
    ) -> None:
        """The run in a thread that is free; `back` is called on the event loop. `gone` stops it between two nodes."""
        pool = self._pools[scorer]
        pool.busy += 1
        future = asyncio.get_running_loop().run_in_executor(pool.executor, _timed, scorer, inputs, gone)

        def ended(done: asyncio.Future[tuple[Arrays, Took]]) -> None:
            pool.busy -= 1
            waiting, pool.waiting = pool.waiting, []
            for call in waiting:
                call()
            if done.cancelled():
                return
            error = done.exception()
            if error is not None:
                back(error, Took(0, 0))
            else:
                back(*done.result())

        future.add_done_callback(ended)


def _timed(scorer: Scorer, inputs: Mapping[str, npt.NDArray[Any]], gone: Callable[[], bool]) -> tuple[Arrays, Took]:
    wall, own = perf_counter_ns(), thread_time_ns()
    arrays = scorer.run(inputs, None, gone)
    return arrays, Took(perf_counter_ns() - wall, thread_time_ns() - own)
