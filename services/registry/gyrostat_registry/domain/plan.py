"""Who serves what: the lineup that roll-outs and people shape, and the complete plan that replicas read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gyrostat_registry.domain.rollout import Rollout, State
from gyrostat_registry.domain.spec import ModelSpec
from gyrostat_registry.domain.version import Artifact, Signature, Version


class Phase(StrEnum):
    """What the open roll-out is doing, for the judge."""

    NONE = "unspecified"
    SHADOW = "shadow"
    CANARY = "canary"
    GUARD = "guard"


class Change(StrEnum):
    """How a champion changed."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"


@dataclass(frozen=True)
class Lineup:
    """Champion, fallback and pinned shadows by version number (0: none): what outlives roll-outs."""

    champion: int = 0
    fallback: int = 0
    pins: tuple[int, ...] = ()

    def pinned(self, number: int, keep: bool) -> "Lineup":
        """With a version pinned, or let go."""
        others = {pin for pin in self.pins if pin != number}
        return replace(self, pins=tuple(sorted(others | {number} if keep else others)))


RETIRED = Lineup()


@dataclass(frozen=True)
class PlannedVersion:
    """A version with all that a replica needs to serve it."""

    number: int
    artifact: Artifact
    signature: Signature
    profile: Artifact | None = None
    aliases: tuple[str, ...] = ()
    warm_up: Artifact | None = None


@dataclass(frozen=True)
class Shadow:
    """A version that scores without answering. `sample_rate` 0 means all requests."""

    version: PlannedVersion
    pinned: bool = False
    sample_rate: float = 0.0
    purpose: str = "pinned"


@dataclass(frozen=True)
class Plan:
    """Everything about one model in one environment at one revision. No champion: retired.

    `made_at` is wall time; `event_time`, `step_started_at` and `rollout_started_at` are event time. `pins` are the
    pinned versions, also those that answer at present and therefore are no shadows.
    """

    environment: str
    model: str
    revision: int
    made_at: datetime
    spec: ModelSpec
    event_time: datetime | None = None
    champion: PlannedVersion | None = None
    canary: PlannedVersion | None = None
    canary_weight: int = 0
    shadows: tuple[Shadow, ...] = ()
    fallback: PlannedVersion | None = None
    rollout_id: str = ""
    judge_version: int = 0
    judge_baseline: int = 0
    step_started_at: datetime | None = None
    rollout_started_at: datetime | None = None
    phase: Phase = Phase.NONE
    reason: str = ""
    actor: str = ""
    pins: tuple[int, ...] = ()

    @property
    def lineup(self) -> Lineup:
        """What outlives the roll-out of this plan."""
        return Lineup(
            self.champion.number if self.champion else 0, self.fallback.number if self.fallback else 0, self.pins
        )

    @property
    def numbers(self) -> frozenset[int]:
        """Every version that a replica has to load."""
        versions = [self.champion, self.canary, self.fallback, *(shadow.version for shadow in self.shadows)]
        return frozenset(version.number for version in versions if version)


@dataclass(frozen=True)
class Cast:
    """Who plays what, by number: a lineup seen through the open roll-out."""

    champion: int = 0
    fallback: int = 0
    canary: int = 0
    canary_weight: int = 0
    shadows: tuple[tuple[int, str, bool], ...] = ()
    judge_version: int = 0
    judge_baseline: int = 0
    phase: Phase = Phase.NONE

    @property
    def numbers(self) -> frozenset[int]:
        """Every version in it."""
        named = {self.champion, self.fallback, self.canary, *(number for number, _, _ in self.shadows)}
        return frozenset(named - {0})


def lineup_after(before: Lineup, rollout: Rollout, previous: State) -> Lineup:
    """The lineup once `rollout` has moved on from the state `previous`.

    Becoming champion keeps the old one as fallback; being taken back under guard restores champion and fallback exactly
    as they were.
    """
    became_champion = rollout.state in (State.GUARD, State.PROMOTED) and previous is not State.GUARD
    if became_champion:
        return replace(before, champion=rollout.version, fallback=rollout.from_version)
    if rollout.state is State.ROLLED_BACK and previous is State.GUARD:
        return replace(before, champion=rollout.from_version, fallback=rollout.from_fallback)
    return before


def cast(lineup: Lineup, rollout: Rollout | None) -> Cast:
    """Who plays what. A pinned version is a shadow unless it answers; it keeps its pin while a roll-out uses it."""
    open_one = rollout if rollout is not None and rollout.active else None
    roles = Cast(lineup.champion, lineup.fallback)
    used: dict[int, str] = {}
    if open_one is not None:
        roles = replace(
            roles, judge_version=open_one.version, judge_baseline=open_one.from_version, phase=Phase(open_one.state)
        )
        if open_one.state is State.SHADOW:
            used[open_one.version] = "candidate"
        elif open_one.state is State.CANARY:
            roles = replace(roles, canary=open_one.version, canary_weight=open_one.weight)
        else:
            used[open_one.from_version] = "guard"
    answering = {roles.champion, roles.canary}
    names = {**{pin: "pinned" for pin in lineup.pins if pin not in answering}, **used}
    shadows = tuple((number, purpose, number in lineup.pins) for number, purpose in sorted(names.items()))
    return replace(roles, shadows=shadows if lineup.champion else ())


def planned(version: Version, aliases: Mapping[str, int]) -> PlannedVersion:
    """The version as a plan names it."""
    names = tuple(sorted(alias for alias, number in aliases.items() if number == version.number))
    return PlannedVersion(version.number, version.artifact, version.signature, version.profile, names, version.warm_up)


def following_aliases(plan: Plan | None, latest: int) -> dict[str, int]:
    """The aliases that nobody sets: they follow the plan of the default environment, `latest` the numbering."""
    found = {"latest": latest} if latest else {}
    if plan is None:
        return found
    candidates = [shadow.version.number for shadow in plan.shadows if shadow.purpose == "candidate"]
    for alias, number in (
        ("champion", plan.champion.number if plan.champion else 0),
        ("canary", plan.canary.number if plan.canary else 0),
        ("challenger", plan.canary.number if plan.canary else (candidates or [0])[0]),
        ("fallback", plan.fallback.number if plan.fallback else 0),
    ):
        if number:
            found[alias] = number
    return found


def change_between(before: int, after: int, taken_back: bool) -> Change | None:
    """What kind of change of champion that is; None when there is none."""
    if before == after:
        return None
    if not after:
        return Change.RETIRED
    return Change.ROLLED_BACK if taken_back else Change.PROMOTED
