"""Episodes: one change, told once. opened → confirmed (bad windows in a row) → resolved (calm windows in a row), or
superseded when the version stops answering. Ids are deterministic, so a restart tells the same story.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import NAMESPACE_URL, uuid5

from gyrostat_monitor.domain.findings import Finding, Kind, Statistic
from gyrostat_monitor.domain.windows import Span

NAMESPACE = uuid5(NAMESPACE_URL, "https://gyrostat.dev/episodes")


class State(StrEnum):
    """Where an episode stands."""

    OPENED = "opened"
    CONFIRMED = "confirmed"
    RESOLVED = "resolved"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Observed:
    """One closed window and what is needed to tell of it."""

    span: Span
    rows: int
    watermark_us: int
    finding: Finding
    exemplars: tuple[str, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """An episode as last told."""

    id: str
    environment: str
    model: str
    version: int
    kind: Kind
    state: State
    started_us: int
    window: Span
    rows: int
    watermark_us: int
    ended_us: int | None = None
    bad_run: int = 0
    calm_run: int = 0
    effect: float = 0.0
    severity: float = 0.0
    evidence: tuple[Statistic, ...] = ()
    exemplars: tuple[str, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)
    summary: str = ""

    @property
    def open(self) -> bool:
        """Neither resolved nor superseded."""
        return self.state in (State.OPENED, State.CONFIRMED)

    @property
    def severity_word(self) -> str:
        """info, warning or critical."""
        if self.state is not State.CONFIRMED:
            return "info"
        return "critical" if self.severity >= 0.5 or self.kind is Kind.DATA_QUALITY else "warning"

    def event_id(self) -> str:
        """Id of the event that tells of this state."""
        return str(uuid5(NAMESPACE, f"{self.id}/{self.state}/{self.window.end_us}"))


def episode_id(model: str, version: int, kind: Kind, started_us: int, environment: str = "production") -> str:
    """uuid5 of model, version, kind and start (and the environment, unless it is the default one)."""
    where = "" if environment == "production" else f"{environment}/"
    return str(uuid5(NAMESPACE, f"{where}{model}/{version}/{kind}/{started_us}"))


def step(
    current: Episode | None, seen: Observed, model: str, version: int, environment: str, confirm: int
) -> tuple[Episode | None, tuple[Episode, ...]]:
    """The episode after one window, and the states to be told, oldest first."""
    finding = seen.finding
    told: list[Episode] = []
    episode = current
    if episode is None:
        if not finding.bad:
            return None, ()
        start = seen.span.start_us if finding.since_us is None else min(finding.since_us, seen.span.end_us)
        episode = Episode(
            episode_id(model, version, finding.kind, start, environment), environment, model, version, finding.kind,
            State.OPENED, start, seen.span, seen.rows, seen.watermark_us,
        )  # fmt: skip
        episode = _evident(episode, seen)
        told.append(episode)
    elif finding.bad:
        episode = _evident(episode, seen)
    elif finding.calm:
        episode = replace(episode, calm_run=episode.calm_run + 1, bad_run=0)
    else:
        episode = replace(episode, calm_run=0, bad_run=0)
    if episode.state is State.OPENED and episode.bad_run >= confirm:
        episode = replace(episode, state=State.CONFIRMED)
        told.append(episode)
    elif episode.state is State.CONFIRMED and finding.bad:
        # Told again with every further bad window: whoever could not act on it before may act now.
        told.append(episode)
    if episode.calm_run >= confirm:
        episode = replace(
            episode, state=State.RESOLVED, ended_us=seen.span.end_us, watermark_us=seen.watermark_us,
            window=seen.span, rows=seen.rows,
            summary=f"Over: {episode.calm_run} calm windows in a row. {finding.summary}",
        )  # fmt: skip
        told.append(episode)
        return None, tuple(told)
    return episode, tuple(told)


def _evident(episode: Episode, seen: Observed) -> Episode:
    finding = seen.finding
    return replace(
        episode, bad_run=episode.bad_run + 1, calm_run=0, window=seen.span, rows=seen.rows, effect=finding.effect,
        watermark_us=seen.watermark_us, severity=finding.severity, evidence=finding.evidence,
        exemplars=seen.exemplars or episode.exemplars, offsets=dict(seen.offsets), summary=finding.summary,
    )  # fmt: skip


def superseded(episode: Episode, watermark_us: int, why: str) -> Episode:
    """The episode of a version that stopped answering."""
    at = max(watermark_us, episode.started_us)
    return replace(episode, state=State.SUPERSEDED, ended_us=at, watermark_us=at, summary=why)
