"""A Predict over live models with scripted scorers, logs and meters in memory, to answer calls without a server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gyrostat_common import oip
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.entries import Group, Rows
from gyrostat_inference.domain.live import LiveModel, LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.usecases.predict import Logging, Predict
from gyrostat_inference.usecases.turns import Turns
from support.live_models import live


@dataclass
class FakeLog:
    """A spool in memory."""

    full: bool = False
    share: float = 1.0
    left_bytes: int = 2**40
    taken: list[tuple[Group, Rows]] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    written: int = 0
    flushed: int = 0
    waited: int = 0

    def number(self, group: Group) -> int:
        return 1

    def append(self, group: Group, rows: Rows) -> None:
        self.taken.append((group, rows))

    def count(self, rows: int, reason: str) -> None:
        self.counted[reason] = self.counted.get(reason, 0) + rows

    def write(self) -> None:
        self.written = len(self.taken)

    async def flush(self) -> None:
        self.flushed += 1

    async def until_room(self) -> None:
        self.waited += 1


class CountingMeters:
    """How many were answered by code, and refused or dropped by reason."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def answered(self, model: str, version: int, variant: str, code: str, seconds: float) -> None:
        self.codes[code] += 1

    def refused(self, model: str, reason: str) -> None:
        self.refusals[reason] += 1

    def shadow_dropped(self, model: str, reason: str) -> None:
        self.dropped[reason] += 1


class Predicting:
    """A Predict over live models, with both logs in memory."""

    def __init__(
        self,
        *lives: LiveModel,
        logging: Logging | None = None,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
        answers: FakeLog | None = None,
    ) -> None:
        self.models, self.answers, self.shadows = LiveModels(), answers or FakeLog(), FakeLog()
        self.meters = CountingMeters()
        for each in lives:
            self.models.swap(each)
        self.turns = Turns(oip.to_raw, bounds or Bounds(), clock)
        logs = self.answers, self.shadows
        self.predict = Predict(self.models, *logs, self.meters, self.turns, logging or Logging())

    async def score_shadows(self) -> None:
        """Until none waits."""
        task = asyncio.create_task(self.predict.run_shadows())
        await self.predict.drain_shadows()
        task.cancel()


class Bench(Predicting):
    """Over one plan of `flights`."""

    def __init__(self, plan: Plan, without: tuple[int, ...] = (), logging: Logging | None = None) -> None:
        self.live = live(plan, without)
        super().__init__(self.live, logging=logging)

    def break_version(self, number: int) -> None:
        self.live.loaded[number].scorer.broken = True  # type: ignore[attr-defined]
