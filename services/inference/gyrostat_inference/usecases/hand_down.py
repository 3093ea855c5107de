"""Gives every worker of the replica its plans, and knows what all of them together serve.

`follow` takes a plan in from the log, `restore` those of the last run; `heard` and `left` say what a worker has made of
its plans. What the replica is asked (`revisions`, `applied`, `not_ready`) is what all its workers can keep.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gyrostat_common.errors import Unavailable
from gyrostat_inference.domain.crew import (
    Handed,
    ModelState,
    States,
    applied_by_all,
    joined,
    next_revision,
    served_by_all,
)
from gyrostat_inference.domain.live import Applied
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.usecases.apply_plan import PlanCache

Give = Callable[[int, bytes], None]
"""Hands a plan to a worker, at once; a worker that is gone takes nothing."""


class Watcher(Protocol):
    """Told about every decision."""

    def served(self, plan: Plan, workers: int) -> None: ...
    def not_cached(self, plan: Plan, reason: str) -> None: ...


MOST_KEPT = 16


class _Plans:
    """Of one model: the one in force, and those after it, the newest last."""

    def __init__(self, plan: Plan, raw: bytes, in_force: bool = False) -> None:
        self.known: dict[int, tuple[Plan, bytes]] = {plan.revision: (plan, raw)}
        self.in_force = plan.revision if in_force else 0

    @property
    def newest(self) -> int:
        return max(self.known)

    @property
    def handed(self) -> Handed:
        return Handed(self.in_force, self.newest)

    def add(self, plan: Plan, raw: bytes) -> None:
        self.known[plan.revision] = (plan, raw)
        between = [revision for revision in sorted(self.known) if self.in_force < revision < plan.revision]
        for revision in between[:-MOST_KEPT]:
            del self.known[revision]

    def put_in_force(self, revision: int) -> None:
        self.in_force = revision
        self.known = {r: kept for r, kept in self.known.items() if r >= revision}


@dataclass(slots=True)
class _Worker:
    """What a worker was given, and what it has made of it."""

    given: dict[str, int] = field(default_factory=dict)
    states: dict[str, ModelState] = field(default_factory=dict)
    not_ready: str | None = "it has just begun"


class HandDown:
    """Plans from the log to the workers, and their word back."""

    def __init__(self, give: Give, cache: PlanCache, watcher: Watcher, changed: Callable[[], None]) -> None:
        self._give, self._cache, self._watcher, self._changed = give, cache, watcher, changed
        self._plans: dict[str, _Plans] = {}
        self._workers: dict[int, _Worker] = {}
        self._awaited: set[int] = set()
        self._answering: list[int] | None = None  # found again after each news: it is asked for each connection
        self.restored = 0

    # Plans

    async def restore(self) -> None:
        """Begins with the plans of the last run, which are in force until the log has newer ones."""
        for plan, raw in self._cache.read():
            self.restored += 1
            self._plans[plan.model] = _Plans(plan, raw, in_force=True)

    async def follow(self, plan: Plan, raw: bytes) -> None:
        """Takes a plan in. An older revision than is known changes nothing."""
        known = self._plans.get(plan.model)
        if known is None:
            self._plans[plan.model] = _Plans(plan, raw)
        elif plan.revision > known.newest:
            known.add(plan, raw)
        else:
            return
        for number in self._workers:
            self._hand(number, plan.model)

    def _hand(self, number: int, model: str) -> None:
        worker, plans = self._workers[number], self._plans[model]
        revision = next_revision(plans.handed, worker.given.get(model, 0), worker.states.get(model))
        if revision is not None:
            worker.given[model] = revision
            self._give(number, plans.known[revision][1])

    # Workers

    def awaited(self, numbers: Collection[int]) -> None:
        """The workers that begin with the replica: it is busy until they have come, or have been given up."""
        self._awaited = set(numbers)

    def came(self, number: int) -> None:
        """A worker without a plan: a new one, or one that was started again."""
        self._workers[number], self._answering = _Worker(), None
        self._awaited.discard(number)
        for model in self._plans:
            self._hand(number, model)

    def left(self, number: int) -> None:
        """It is gone, and what it served does not count."""
        self._awaited.discard(number)
        self._answering = None
        if self._workers.pop(number, None) is not None:
            self._look_again(list(self._plans))
            self._changed()

    def heard(self, number: int, states: Collection[ModelState], not_ready: str | None) -> None:
        """What a worker has made of plans since its last word."""
        worker = self._workers.get(number)
        if worker is None:
            return
        worker.not_ready, self._answering = not_ready, None
        for state in states:
            worker.states[state.model] = state
            if state.model in self._plans:
                self._hand(number, state.model)
        self._look_again([state.model for state in states])
        self._changed()

    def _look_again(self, models: Collection[str]) -> None:
        """A plan is in force when all workers serve it; then it is cached."""
        answering = self._joined()
        for model in models:
            plans = self._plans.get(model)
            states = [each[model] for each in answering.values() if model in each]
            if plans is None or not states or len(states) < len(answering):
                continue
            revision = min(state.revision for state in states)
            if revision > plans.in_force and revision in plans.known and all(state.ready for state in states):
                plans.put_in_force(revision)
                self._answering = None
                plan, raw = plans.known[revision]
                self._watcher.served(plan, len(answering))
                self._cached(plan, raw)

    def _cached(self, plan: Plan, raw: bytes) -> None:
        try:
            self._cache.write(plan, raw)
        except Unavailable as error:  # it is in force all the same, and the log has it
            self._watcher.not_cached(plan, str(error))

    def _joined(self) -> Mapping[int, States]:
        handed = {model: plans.handed for model, plans in self._plans.items()}
        return {number: w.states for number, w in sorted(self._workers.items()) if joined(handed, w.states)}

    # The replica

    def answering(self) -> list[int]:
        """Workers that serve what the replica serves."""
        if self._answering is None:
            self._answering = [number for number in self._joined() if self._workers[number].not_ready is None]
        return self._answering

    @property
    def busy(self) -> bool:
        """Whether a worker has yet to come for the first time, or has not worked on its newest plans."""
        if self._awaited:
            return True
        newest = {model: plans.newest for model, plans in self._plans.items()}
        return any(
            model not in worker.states or worker.states[model].tried < revision
            for worker in self._workers.values()
            for model, revision in newest.items()
        )

    def models(self) -> Collection[object]:
        """What all serve, by name."""
        return self.revisions()

    def revisions(self) -> dict[str, int]:
        """Model → revision that all who answer serve."""
        return served_by_all(list(self._joined().values()))

    def applied(self) -> list[Applied]:
        """Every version of every plan, loaded by all or not."""
        return applied_by_all(self._joined())

    def not_ready(self) -> str | None:
        """None while one worker at least answers for every champion: connections go there."""
        if self.answering():
            return None
        if not self._workers:
            return "no worker runs"
        number, worker = min(self._workers.items())
        return f"worker {number}: {worker.not_ready or 'it has not put the plans in force yet'}"

    def problem(self) -> str | None:
        """What the plans ask for and a worker does not have; None when all have everything."""
        missing = [row for row in self.applied() if not row.loaded]
        words = (f"{row.model}:{row.version} of plan revision {row.revision}: {row.reason}" for row in missing)
        return f"not loaded: {'; '.join(words)}" if missing else None
