"""The serving plan as the monitor sees it: who answers, which profile each version has, what is to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gyrostat_monitor.domain.policy import Policy, RolloutPolicy


class Phase(StrEnum):
    """What the open roll-out is doing."""

    SHADOW = "shadow"
    CANARY = "canary"
    GUARD = "guard"


@dataclass(frozen=True)
class Rollout:
    """A roll-out to be judged. Times are event time, microseconds."""

    id: str
    phase: Phase
    candidate: int
    baseline: int
    started_us: int
    step_started_us: int


@dataclass(frozen=True)
class ProfileRef:
    """Where a version's reference profile lies."""

    sha256: str
    uri: str = ""


@dataclass(frozen=True)
class Plan:
    """One model in one environment at one revision. champion 0 = retired."""

    model: str
    environment: str
    revision: int
    champion: int
    canary: int = 0
    shadows: tuple[int, ...] = ()
    profiles: Mapping[int, ProfileRef | None] = field(default_factory=dict)
    """Every version the plan names → its profile; None: registered without one."""
    policy: Policy = field(default_factory=Policy)
    rollout_policy: RolloutPolicy = field(default_factory=RolloutPolicy)
    rollout: Rollout | None = None
    correlation_id: str = ""
    """The loop that the plan belongs to."""

    @property
    def answering(self) -> frozenset[int]:
        """Versions that answer callers now."""
        return frozenset(v for v in (self.champion, self.canary) if v)
