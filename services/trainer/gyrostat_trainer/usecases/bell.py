"""Wakes whoever waits for something to change, without polling."""

from __future__ import annotations

import asyncio

from gyrostat_trainer.domain.runs import STEPS, Progress, Run


class Bell:
    """One event per name; ringing wakes everybody who took the event before."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.closing = False

    def close(self) -> None:
        """The process ends: everybody is woken for the last time."""
        self.closing = True
        for name in list(self._events):
            self.ring(name)

    def next(self, name: str) -> asyncio.Event:
        """Take it before looking at the state, wait for it after."""
        return self._events.setdefault(name, asyncio.Event())

    def ring(self, name: str) -> None:
        """Something about `name` changed."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()


class Board:
    """How far the runs under way are. In memory: after a restart it begins again from the journal."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._progress: dict[str, Progress] = {}

    def tell(self, run_id: str, progress: Progress) -> None:
        """New progress; everybody who watches is woken."""
        self._progress[run_id] = progress
        self._bell.ring(run_id)

    def of(self, run: Run) -> Progress:
        """Progress of any run, ended ones too."""
        if not run.is_open:
            return Progress(1.0, "done", 0.0, run.error or run.status)
        return self._progress.get(run.id, Progress(0.0, run.status if run.status == "queued" else "snapshot"))

    def forget(self, run_id: str) -> None:
        """The run is over."""
        self._progress.pop(run_id, None)
        self._bell.ring(run_id)


def fraction_within(step: str, inner: float) -> float:
    """Fraction of the whole run when `inner` of a step is done."""
    names = list(STEPS)
    begin = STEPS[names[names.index(step) - 1]] if step != names[0] else 0.0
    return begin + (STEPS[step] - begin) * inner
