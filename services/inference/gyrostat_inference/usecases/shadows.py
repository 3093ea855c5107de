"""The versions that score a request without answering: after the reply, from a bounded queue, into their own spool."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

from gyrostat_inference.domain.calls import Call, Output
from gyrostat_inference.domain.entries import SHADOW
from gyrostat_inference.domain.live import LiveModel, LoadedVersion
from gyrostat_inference.usecases.record import AnswerLog, Scored, record
from gyrostat_inference.usecases.runs import Run
from gyrostat_inference.usecases.turns import Turns

WAITING = 1024
# So many are put into one turn: enough to fill a run, and answers wait for no more than these.
AT_ONCE = 64


class ShadowMeters(Protocol):
    """Counts what was not scored."""

    def shadow_dropped(self, model: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    live: LiveModel
    number: int
    call: Call
    rows: int
    share: float


class _Scoring(Run):
    """One shadow that is being scored."""

    __slots__ = ("begun_ns", "over", "shadows", "waiting")

    def __init__(self, shadows: "Shadows", waiting: _Waiting, version: LoadedVersion, over: "_Over") -> None:
        live, call = waiting.live, waiting.call
        self.shadows, self.waiting, self.over, self.begun_ns = shadows, waiting, over, perf_counter_ns()
        rows = live.fit(waiting.number, call).rows
        super().__init__(version, live.plan.spec.engine, call.tensors, rows)

    def ended(self, outcome: list[Output] | Exception) -> None:
        try:
            self.shadows.scored(self.waiting, self.version, outcome, self.begun_ns)
        finally:
            self.over.one()


class _Over:
    """Tells when so many are through."""

    def __init__(self) -> None:
        self.left = 0
        self.event = asyncio.Event()

    def one(self) -> None:
        self.left -= 1
        if not self.left:
            self.event.set()


class Shadows:
    """`queue` one after its request was answered; `run` is the task that scores them."""

    def __init__(self, log: AnswerLog, meters: ShadowMeters, turns: Turns) -> None:
        self._log, self._meters, self._turns = log, meters, turns
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)

    def queue(self, live: LiveModel, number: int, call: Call, rows: int, share: float) -> None:
        """Dropped and counted when too many wait. `share` as the answer was recorded with."""
        waiting = _Waiting(live, number, call, rows, share)
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            self._drop(waiting, "shadow_queue_full")

    def _drop(self, waiting: _Waiting, reason: str) -> None:
        """Counted in the shadows' books: rows that were due and are not there."""
        self._log.count(waiting.rows, reason)
        self._log.write()
        self._meters.shadow_dropped(waiting.live.plan.model, reason)

    async def run(self) -> None:
        """Scores what is queued, some together and these before the next, giving way to answers. Until cancelled."""
        while True:
            together = deque([await self._queue.get()])
            await asyncio.sleep(0)
            while len(together) < AT_ONCE and not self._queue.empty():
                together.append(self._queue.get_nowait())
            await self._score(together)
            self._log.write()
            for _ in together:
                self._queue.task_done()

    async def _score(self, together: Sequence[_Waiting]) -> None:
        over = _Over()
        over.left = 1
        for waiting in together:
            version = waiting.live.loaded.get(waiting.number)
            if version is None:
                self._drop(waiting, "shadow_not_loaded")
                continue
            try:
                run = _Scoring(self, waiting, version, over)
                self._turns.put(run, refusable=False)
                over.left += 1
            except Exception as error:  # what does not fit is logged like what cannot be scored
                self.scored(waiting, version, error, perf_counter_ns())
        over.one()
        await over.event.wait()

    def scored(
        self, waiting: _Waiting, version: LoadedVersion, outcome: list[Output] | Exception, begun_ns: int
    ) -> None:
        """One shadow. Whatever it raised hurts nobody, and is logged as rows without outputs: the judge counts them."""
        live, call, rows = waiting.live, waiting.call, waiting.rows
        spent = perf_counter_ns() - begun_ns
        outputs: Sequence[Output] = ()
        if isinstance(outcome, Exception):
            version.counters.fail.add(spent)
            self._meters.shadow_dropped(live.plan.model, "shadow_failed")
        else:
            outputs, rows = outcome, live.fit(waiting.number, call).rows
        record(self._log, live, call, Scored(version, SHADOW, "shadow", rows, outputs, spent), waiting.share)

    async def drain(self) -> None:
        """Returns when every queued shadow is scored; for an orderly close."""
        await self._queue.join()
