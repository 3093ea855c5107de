"""What was told of episodes and roll-outs, as it is kept for queries."""

from __future__ import annotations

from dataclasses import dataclass

from gyrostat_monitor.domain.episodes import Episode
from gyrostat_monitor.domain.judge import Judgement


@dataclass(frozen=True)
class Transition:
    """A state that was told; `told` is the episode as it was then."""

    state: str
    watermark_us: int
    at_us: int
    summary: str
    event_id: str
    told: Episode


@dataclass(frozen=True)
class Told:
    """An episode with its history and its place in the list."""

    number: int
    episode: Episode
    transitions: tuple[Transition, ...]


@dataclass(frozen=True)
class Judged:
    """A verdict as it was published."""

    number: int
    model: str
    environment: str
    rollout_id: str
    candidate: int
    baseline: int
    revision: int
    watermark_us: int
    at_us: int
    event_id: str
    judgement: Judgement
