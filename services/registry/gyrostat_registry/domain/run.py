"""Runs: one execution that may make a version, with its parameters, metrics, rows and digests."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from gyrostat_registry.domain.errors import BadRun, RunOver
from gyrostat_registry.domain.version import Artifact

STATUSES = ("queued", "running", "succeeded", "failed", "rejected", "cancelled")
_OVER = ("succeeded", "failed", "rejected", "cancelled")
# What the trainer says of a run beside its numbers: it runs what somebody asked it for.
TRAINER = "gyrostat-trainer"
REASON, ASKED_AT, CANCELLED_BY, CANCEL_REASON = "reason", "asked_at", "cancelled_by", "cancel_reason"
MOST_METRICS = 20_000
MOST_ENTRIES = 2_000


@dataclass(frozen=True)
class Metric:
    """A number that a run logged at a step. `at` is wall time."""

    name: str
    value: float
    step: int = 0
    at: datetime | None = None


@dataclass(frozen=True)
class DatasetSnapshot:
    """The exact rows of a run: Delta table versions, filter, digest, count, event-time range, frames by stream."""

    tables: dict[str, int] = field(default_factory=dict)
    filter: str = ""
    sha256: str = ""
    rows: int = 0
    event_time_from: datetime | None = None
    event_time_to: datetime | None = None
    frames: dict[str, int] = field(default_factory=dict)
    copy: Artifact | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One execution. Times are wall time."""

    id: str = ""
    model: str = ""
    status: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    snapshot: DatasetSnapshot | None = None
    code_digest: str = ""
    environment_digest: str = ""
    causes: tuple[str, ...] = ()
    correlation_id: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    version: int = 0
    error: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    created_by: str = ""


@dataclass(frozen=True)
class Imported:
    """A dataset that the trainer took in, as the log said it."""

    event_id: str
    dataset: str
    delta_version: int
    rows: int
    actor: str


def checked(run: Run) -> Run:
    """The run, its status filled; BadRun when it holds what no run may."""
    run = replace(run, status=run.status or "running")
    if run.status not in STATUSES:
        raise BadRun(f"run status {run.status[:40]!r}: one of {', '.join(STATUSES)}")
    if len(run.metrics) > MOST_METRICS:
        raise BadRun(f"a run holds at most {MOST_METRICS} metrics; log fewer steps")
    if max(len(run.params), len(run.tags), len(run.cost), len(run.causes)) > MOST_ENTRIES:
        raise BadRun(f"a run holds at most {MOST_ENTRIES} params, tags, costs and causes each")
    return run


def merged(run: Run, change: Run) -> Run:
    """The run with what is set in `change`: maps and metrics are added to (a point said twice is one), the rest
    replaces.

    RunOver when a run that ended would go on; BadRun when it would move to another model.
    """
    if change.model and change.model != run.model:
        raise BadRun(f"run {run.id} belongs to model {run.model!r}, not to {change.model!r}")
    if run.status in _OVER and change.status and change.status != run.status:
        raise RunOver(f"run {run.id} is {run.status}; it cannot become {change.status}")
    return checked(
        replace(
            run,
            status=change.status or run.status,
            params={**run.params, **change.params},
            metrics=tuple(dict.fromkeys(run.metrics + change.metrics)),
            tags={**run.tags, **change.tags},
            snapshot=change.snapshot or run.snapshot,
            code_digest=change.code_digest or run.code_digest,
            environment_digest=change.environment_digest or run.environment_digest,
            causes=run.causes + tuple(cause for cause in change.causes if cause not in run.causes),
            correlation_id=change.correlation_id or run.correlation_id,
            started_at=change.started_at or run.started_at,
            ended_at=change.ended_at or run.ended_at,
            version=change.version or run.version,
            error=change.error or run.error,
            cost={**run.cost, **change.cost},
        )
    )
