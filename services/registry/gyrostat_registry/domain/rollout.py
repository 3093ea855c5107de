"""How one version goes live: a state machine of values.

    proposed ─approve─▶ ┐
    waiting ────────────┴▶ shadow ─▶ canary 1 % ─▶ … ─▶ guard (champion, old one shadows) ─▶ promoted
                             │          │                  │
                             └──────────┴── rolled back ◀──┘      proposed, waiting, shadow, canary ─▶ superseded

A roll-out never reads a clock: a `Moment` says when (wall), up to which event time, by whom and why. `decide` turns a
verdict of the monitor into a move; the moves are the methods of `Rollout`. Which version answers is derived in `plan`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gyrostat_registry.domain.errors import IllegalMove
from gyrostat_registry.domain.spec import Mode, RolloutPolicy

FULL_WEIGHT = 10_000


class State(StrEnum):
    """Where a roll-out stands."""

    PROPOSED = "proposed"
    WAITING = "waiting"
    SHADOW = "shadow"
    CANARY = "canary"
    GUARD = "guard"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


QUEUED = frozenset({State.PROPOSED, State.WAITING})
ACTIVE = frozenset({State.SHADOW, State.CANARY, State.GUARD})
OVER = frozenset({State.PROMOTED, State.ROLLED_BACK, State.SUPERSEDED})


class Verdict(StrEnum):
    """What the monitor says of a step."""

    CONTINUE = "continue"
    ADVANCE = "advance"
    ROLL_BACK = "roll_back"


class Move(StrEnum):
    """What follows from a verdict."""

    STAY = "stay"
    ADVANCE = "advance"
    ROLL_BACK = "roll_back"
    GIVE_UP = "give_up"


@dataclass(frozen=True)
class Moment:
    """When, by whom and why a move is made. `at` is wall time; `event_time` is the watermark, None when unknown."""

    at: datetime
    event_time: datetime | None
    actor: str
    reason: str


@dataclass(frozen=True)
class Step:
    """One move that was made. `plan_revision` is 0 when no plan came of it."""

    state: State
    weight: int
    event_time: datetime | None
    at: datetime
    reason: str
    actor: str
    plan_revision: int = 0


@dataclass(frozen=True)
class Rollout:
    """One roll-out. `from_version` and `from_fallback` are champion and fallback when it began (0: none)."""

    id: str
    environment: str
    model: str
    version: int
    state: State
    actor: str
    created_at: datetime
    from_version: int = 0
    from_fallback: int = 0
    weight: int = 0
    step: int = 0
    held: bool = False
    steps: tuple[Step, ...] = ()
    cause: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    approvals: tuple[str, ...] = ()
    by_hand: bool = False
    automatic: bool = False
    started_event_time: datetime | None = None
    step_event_time: datetime | None = None

    @property
    def over(self) -> bool:
        """No move is left."""
        return self.state in OVER

    @property
    def active(self) -> bool:
        """It shapes the plan."""
        return self.state in ACTIVE

    @property
    def approved_or_asked(self) -> bool:
        """A person wants it: autopilot's mode `propose` does not hold it up."""
        return not self.automatic or bool(self.approvals)

    def queued(self, state: State, moment: Moment) -> "Rollout":
        """Proposed or waiting, from new or from the other of the two."""
        if state not in QUEUED or (self.steps and self.state not in QUEUED):
            raise self._illegal(state)
        return self._moved(state, 0, moment)

    def approved(self, moment: Moment) -> "Rollout":
        """A person lets it start: it waits until it is its turn. Only a proposed one can be approved."""
        if self.state is not State.PROPOSED:
            raise IllegalMove(f"roll-out {self.id} is {self.state}; only a proposed one can be approved")
        return replace(self._moved(State.WAITING, 0, moment), approvals=(*self.approvals, moment.actor))

    def started(self, champion: int, fallback: int, moment: Moment) -> "Rollout":
        """Shadow beside the champion; without a champion it answers at once, as there is nothing to compare it with."""
        if self.state not in QUEUED:
            raise self._illegal(State.SHADOW)
        begun = replace(self, from_version=champion, from_fallback=fallback, started_event_time=moment.event_time)
        if not champion:
            return begun._moved(State.PROMOTED, FULL_WEIGHT, moment)
        return begun._moved(State.SHADOW, 0, moment)

    def jumped(self, champion: int, fallback: int, moment: Moment) -> "Rollout":
        """Champion at once, by hand; the old champion guards it, if there is one."""
        if self.state not in QUEUED:
            raise self._illegal(State.GUARD)
        begun = replace(
            self, from_version=champion, from_fallback=fallback, started_event_time=moment.event_time, by_hand=True
        )
        return begun._moved(State.GUARD if champion else State.PROMOTED, FULL_WEIGHT, moment)

    def advanced(self, policy: RolloutPolicy, moment: Moment) -> "Rollout":
        """The next step of the policy: the first weight above the present one; 10,000 is champion under guard; after
        the guard, promoted.
        """
        if self.state is State.GUARD:
            return self._moved(State.PROMOTED, FULL_WEIGHT, moment)
        if not self.active:
            raise self._illegal(State.CANARY)
        later = [(index, weight) for index, weight in enumerate(policy.steps) if weight > self.weight]
        index, weight = later[0] if later else (len(policy.steps) - 1, FULL_WEIGHT)
        state = State.GUARD if weight >= FULL_WEIGHT else State.CANARY
        return replace(self._moved(state, min(weight, FULL_WEIGHT), moment), step=index)

    def rolled_back(self, moment: Moment) -> "Rollout":
        """Taken back: from shadow or canary the champion stays; from guard the old one answers again."""
        if not self.active:
            raise self._illegal(State.ROLLED_BACK)
        return self._moved(State.ROLLED_BACK, 0, moment)

    def superseded(self, moment: Moment) -> "Rollout":
        """Given up or replaced before it was champion."""
        if self.over or self.state is State.GUARD:
            raise self._illegal(State.SUPERSEDED)
        return self._moved(State.SUPERSEDED, 0, moment)

    def ended_early(self, moment: Moment) -> "Rollout":
        """Ended from outside: under guard it counts as promoted, before that as superseded."""
        if self.state is State.GUARD:
            return self._moved(State.PROMOTED, FULL_WEIGHT, moment)
        return self.superseded(moment)

    def timed(self, watermark: datetime) -> "Rollout":
        """With the event time at which it began, when that was unknown until now."""
        return replace(
            self,
            started_event_time=self.started_event_time or watermark,
            step_event_time=self.step_event_time or watermark,
        )

    def at_revision(self, revision: int) -> "Rollout":
        """With the plan revision that its last step led to."""
        return replace(self, steps=(*self.steps[:-1], replace(self.steps[-1], plan_revision=revision)))

    def _moved(self, state: State, weight: int, moment: Moment) -> "Rollout":
        at = _later(moment.event_time, self.step_event_time)
        step = Step(state, weight, at, moment.at, moment.reason, moment.actor)
        over = state in OVER
        return replace(
            self,
            state=state,
            weight=weight,
            steps=(*self.steps, step),
            step_event_time=at,
            held=self.held and not over,
        )

    def _illegal(self, state: State) -> IllegalMove:
        return IllegalMove(f"roll-out {self.id} of {self.model}:{self.version} is {self.state}; it cannot be {state}")


def decide(
    rollout: Rollout, policy: RolloutPolicy, verdict: Verdict, watermark: datetime, mode: Mode
) -> tuple[Move, str]:
    """What a verdict at `watermark` (event time) leads to, and why.

    Taking back works in every mode; everything else holds while autopilot is off. The guard ends after `guard_s`
    without harm whether or not the judge says advance; what is not decided after `max_rollout_s` is given up.
    """
    if not rollout.active:
        return Move.STAY, f"the roll-out is {rollout.state}"
    if verdict is Verdict.ROLL_BACK:
        return Move.ROLL_BACK, "the evidence says harm"
    if mode is Mode.OFF:
        return Move.STAY, "autopilot is off: weights are frozen"
    if rollout.state is State.GUARD:
        if _passed(rollout.step_event_time, policy.guard_s, watermark):
            return Move.ADVANCE, "the guard time is over without harm"
        return Move.STAY, "the guard time is not over"
    if verdict is Verdict.ADVANCE:
        return Move.ADVANCE, "the evidence allows the next step"
    if _passed(rollout.started_event_time, policy.max_rollout_s, watermark):
        return Move.GIVE_UP, f"not decided after {policy.max_rollout_s / 86_400:g} days of event time"
    return Move.STAY, "the evidence does not decide yet"


def _passed(begun: datetime | None, seconds: int, now: datetime) -> bool:
    return begun is not None and now - begun >= timedelta(seconds=seconds)


def _later(new: datetime | None, old: datetime | None) -> datetime | None:
    if new is None or old is None:
        return new or old
    return max(new, old)
