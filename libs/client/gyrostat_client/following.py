"""Which replicas serve a plan: the registry decides at once, but a change is live only when the replicas say so."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gyrostat.events.v1 import events_pb2
from gyrostat_common.times import from_proto

SILENT_S, GONE_S = 30.0, 600.0
"""Three missed heartbeats: not waited for. Ten minutes: not even named."""
LOOK_EVERY_S = 0.25

Replicas = Callable[[], Awaitable[Sequence[events_pb2.PlanApplied]]]


@dataclass(frozen=True)
class Following:
    """Names of the replicas that serve the plan, and replica → why for those that do not, or not yet."""

    serving: tuple[str, ...] = ()
    behind: Mapping[str, str] | None = None
    silent: Mapping[str, str] | None = None

    def lines(self) -> list[str]:
        """In words."""
        said = [f"served by {', '.join(self.serving)}" if self.serving else "no replica serves it yet"]
        said += [
            f"not by {replica}: {why}" for replica, why in ({**(self.behind or {}), **(self.silent or {})}).items()
        ]
        return said


async def followed(plan: events_pb2.ServingPlan, replicas: Replicas, within_s: float) -> Following:
    """Looks until every replica that is heard of serves the plan or a later one, but no longer than this."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        found = following(plan, await replicas(), datetime.now(UTC))
        if (found.serving and not found.behind) or loop.time() >= until:
            return found
        if not found.behind:
            return found  # nobody lives who could follow
        await asyncio.sleep(LOOK_EVERY_S)


def following(plan: events_pb2.ServingPlan, replicas: Sequence[events_pb2.PlanApplied], now: datetime) -> Following:
    """As of what the replicas last said."""
    serving, behind, silent = [], {}, {}
    for one in replicas:
        at = from_proto(one.at)
        age_s = GONE_S if at is None else (now - at).total_seconds()
        if age_s >= GONE_S:
            continue
        if age_s > SILENT_S:
            silent[one.replica] = f"silent for {age_s:.0f} s"
        elif one.revisions.get(plan.model, 0) >= plan.revision:
            serving.append(one.replica)
        else:
            behind[one.replica] = _why(plan, one)
    return Following(tuple(serving), behind, silent)


def _why(plan: events_pb2.ServingPlan, replica: events_pb2.PlanApplied) -> str:
    revision = replica.revisions.get(plan.model, 0)
    held = f"still at plan revision {revision}" if revision else "it has no plan of the model yet"
    failed = [one for one in replica.versions if one.model == plan.model and not one.loaded]
    return "; ".join([held, *(f"{one.model}:{one.version} is not loaded: {one.reason}" for one in failed)])
