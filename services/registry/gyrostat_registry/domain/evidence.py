"""What the registry heard and did, kept for lineage: episodes, judgements, promotions, replicas."""

from dataclasses import dataclass, field
from datetime import datetime

from gyrostat_registry.domain.plan import Change
from gyrostat_registry.domain.rollout import Verdict


@dataclass(frozen=True)
class Heard:
    """One state that an episode was heard in, with what was known then."""

    state: str
    watermark: datetime | None
    event_id: str
    at: datetime
    summary: str = ""
    features: tuple[str, ...] = ()
    exemplars: tuple[str, ...] = ()


@dataclass(frozen=True)
class Episode:
    """An episode as `drift.detected` told it last, with every state it went through."""

    id: str
    environment: str
    model: str
    version: int
    kind: str
    state: str
    started_at: datetime | None
    severity: str = ""
    effect: float = 0.0
    summary: str = ""
    features: tuple[str, ...] = ()
    exemplars: tuple[str, ...] = ()
    heard: tuple[Heard, ...] = ()

    def behind(self, event_id: str) -> Heard | None:
        """What was heard when it caused something: in that event, else when it was first confirmed, else at first."""
        confirmed = [heard for heard in self.heard if heard.state == "confirmed"]
        caused = [heard for heard in self.heard if heard.event_id == event_id]
        return next(iter([*caused, *confirmed, *self.heard]), None)

    def told_again(self, later: "Episode") -> "Episode":
        """This episode and what a later message says of it; exemplars and features once named stay known."""
        return Episode(
            later.id, later.environment, later.model, later.version, later.kind, later.state,
            later.started_at or self.started_at, later.severity or self.severity, later.effect or self.effect,
            later.summary or self.summary, later.features or self.features, later.exemplars or self.exemplars,
            self.heard + later.heard,
        )  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """A verdict of the monitor. `event_id` is the id of the canary.judged event; `guards` is in plain words."""

    event_id: str
    rollout_id: str
    environment: str
    model: str
    version: int
    baseline: int
    plan_revision: int
    verdict: Verdict
    watermark: datetime
    at: datetime
    paired_rows: int = 0
    rows_needed: int = 0
    answers: int = 0
    summary: str = ""
    guards: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    outcome: str = ""


@dataclass(frozen=True)
class Promotion:
    """A change of champion. `at` is wall time, `event_time` the watermark of the decision."""

    environment: str
    model: str
    change: Change
    version_before: int
    version_after: int
    plan_revision: int
    rollout_id: str
    cause: str
    actor: str
    at: datetime
    event_time: datetime | None = None
    approvals: tuple[str, ...] = ()
    evidence: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    automatic: bool = False
    number: int = 0


@dataclass(frozen=True)
class TrainingEnd:
    """A training.finished event, kept because it stands between an episode and a version in the chain."""

    event_id: str
    run_id: str
    model: str
    status: str
    candidate_version: int
    causes: tuple[str, ...]
    error: str
    at: datetime


@dataclass(frozen=True)
class Replica:
    """What a replica last said it serves. `payload` is its heartbeat as it came, for those who ask for all of it."""

    name: str
    environment: str
    at: datetime
    payload: bytes = b""
