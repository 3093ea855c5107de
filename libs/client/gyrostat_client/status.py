"""The state of everything on one page: what `gyrostat status` shows and `--json` prints.

The registry must answer; what the monitor knows is left out, with a note, when it does not.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client.client import AsyncClient
from gyrostat_client.plain import enum_word, word
from gyrostat_common.errors import GyrostatError
from gyrostat_common.times import from_proto


@dataclass(frozen=True)
class ModelLine:
    """One model. Numbers of the monitor are None when it does not answer or does not know the model."""

    model: str
    champion: int
    plan_revision: int
    canary: int
    canary_weight: int
    shadows: list[int]
    rollout: str
    rollout_version: int
    held: bool
    autopilot: str
    state: str = ""
    watermark: datetime | None = None
    open_episodes: list[str] = field(default_factory=list)
    label_coverage: float | None = None
    outcomes_parked: int = 0
    outcomes_expired: int = 0


@dataclass(frozen=True)
class ReplicaLine:
    """What a replica last said. `behind` names the models whose revision it does not serve yet."""

    replica: str
    at: datetime | None
    revisions: dict[str, int]
    behind: list[str]
    failed: list[str]
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason → answered rows that never reached the log."""


@dataclass(frozen=True)
class AlertLine:
    """An alert of the monitor that fires now."""

    alert_id: str
    severity: str
    summary: str
    owner: str
    since: datetime | None


@dataclass(frozen=True)
class Status:
    """Everything on one page."""

    environment: str
    models: list[ModelLine]
    replicas: list[ReplicaLine]
    lag_records: dict[str, int]
    notes: list[str]
    alerts: list[AlertLine] = field(default_factory=list)


async def status(client: AsyncClient) -> Status:
    """Asks registry and monitor at once."""
    models, plans, rollouts, replicas, seen = await asyncio.gather(
        client.models.list(),
        client.plans.list(),
        client.rollouts.list(open_only=True, limit=None),
        client.plans.replicas(),
        _monitor(client),
    )
    watched, note = seen
    switches = await asyncio.gather(*(client.models.autopilot(model.name) for model in models))
    effective = {model.name: switch for model, switch in zip(models, switches, strict=True)}
    by_model = {plan.model: plan for plan in plans}
    known = {line.model: line for line in watched.models} if watched else {}
    lines = [
        _line(model, by_model.get(model.name), rollouts, effective[model.name], known.get(model.name))
        for model in models
    ]
    return Status(
        client.settings.environment,
        lines,
        [_replica(one, by_model) for one in replicas],
        dict(watched.lag_records) if watched else {},
        [note] if note else [],
        [_alert(one) for one in watched.alerts] if watched else [],
    )


async def _monitor(client: AsyncClient) -> tuple[monitor_pb2.GetMonitorStatusResponse | None, str]:
    try:
        return await client.quality.status(), ""
    except GyrostatError as error:
        return None, str(error)


def _line(
    model: model_pb2.Model,
    plan: events_pb2.ServingPlan | None,
    rollouts: Sequence[registry_pb2.Rollout],
    autopilot: registry_pb2.GetAutopilotResponse,
    seen: monitor_pb2.ModelStatus | None,
) -> ModelLine:
    plan = plan or events_pb2.ServingPlan()
    current = _current([rollout for rollout in rollouts if rollout.model == model.name])
    mode = enum_word(autopilot.DESCRIPTOR.fields_by_name["effective"].enum_type, autopilot.effective) or "propose"
    line = ModelLine(
        model=model.name,
        champion=plan.champion.number,
        plan_revision=plan.revision,
        canary=plan.canary.number,
        canary_weight=plan.canary_weight,
        shadows=[shadow.version.number for shadow in plan.shadows],
        rollout=word(current, "state") if current else "",
        rollout_version=current.version if current else 0,
        held=current.held if current else False,
        autopilot=mode,
    )
    if seen is None:
        return line
    return replace(
        line,
        state=seen.state,
        watermark=from_proto(seen.watermark),
        open_episodes=list(seen.open_episodes),
        label_coverage=seen.label_coverage,
        outcomes_parked=seen.outcomes_parked,
        outcomes_expired=seen.outcomes_expired,
    )


def _current(rollouts: Sequence[registry_pb2.Rollout]) -> registry_pb2.Rollout | None:
    """The open roll-out that moves, else one that waits."""
    waiting = (registry_pb2.ROLLOUT_STATE_WAITING, registry_pb2.ROLLOUT_STATE_PROPOSED)
    moving = [rollout for rollout in rollouts if rollout.state not in waiting]
    return next(iter([*moving, *rollouts]), None)


def _replica(replica: events_pb2.PlanApplied, plans: dict[str, events_pb2.ServingPlan]) -> ReplicaLine:
    behind = sorted(model for model, plan in plans.items() if replica.revisions.get(model, 0) < plan.revision)
    failed = [f"{one.model}:{one.version} {one.reason}" for one in replica.versions if not one.loaded]
    serves = dict(sorted(replica.revisions.items()))
    return ReplicaLine(replica.replica, from_proto(replica.at), serves, behind, failed, dropped_rows(replica))


def dropped_rows(replica: events_pb2.PlanApplied) -> dict[str, int]:
    """Reason → answered rows that never reached the log, over all spools of a replica."""
    found: Counter[str] = Counter()
    for books in replica.books:
        found.update(books.dropped)
    return {reason: rows for reason, rows in sorted(found.items()) if rows}


def _alert(one: monitor_pb2.FiringAlert) -> AlertLine:
    return AlertLine(one.alert_id, one.severity, one.summary, one.owner, from_proto(one.since))
