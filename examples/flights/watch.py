"""Looks at Gyrostat from outside, as an operator would: by its read calls, a few times a second.

The replay paces itself by what is seen here, the view shows it, and the report is made from the last look.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from flights.policy import MODEL
from flights.services import Services, every
from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat.trainer.v1 import trainer_pb2

STATUS_EVERY_S: Final = 0.1
FACTS_EVERY_S: Final = 1.0
CALL_TIMEOUT_S: Final = 10.0
ACTIVE: Final = ("queued", "running")


@dataclass
class Picture:
    """What was seen last."""

    status: monitor_pb2.ModelStatus = field(default_factory=monitor_pb2.ModelStatus)
    plan: events_pb2.ServingPlan = field(default_factory=events_pb2.ServingPlan)
    episodes: list[monitor_pb2.Episode] = field(default_factory=list)
    rollouts: list[registry_pb2.Rollout] = field(default_factory=list)
    runs: list[trainer_pb2.TrainingRun] = field(default_factory=list)
    decisions: list[trainer_pb2.Decision] = field(default_factory=list)

    @property
    def watermark_us(self) -> int:
        """Event time up to which the monitor has seen everything; 0: nothing yet."""
        return int(self.status.watermark.ToMicroseconds()) if self.status.HasField("watermark") else 0

    @property
    def training(self) -> bool:
        """Whether a run is queued or running."""
        return any(run.run.status in ACTIVE for run in self.runs)

    @property
    def open_rollout(self) -> registry_pb2.Rollout | None:
        """The roll-out that is under way, guard included."""
        over = (registry_pb2.ROLLOUT_STATE_PROMOTED, registry_pb2.ROLLOUT_STATE_ROLLED_BACK)
        waiting = (registry_pb2.ROLLOUT_STATE_SUPERSEDED, registry_pb2.ROLLOUT_STATE_WAITING)
        return next((one for one in self.rollouts if one.state not in (*over, *waiting)), None)


@dataclass(frozen=True)
class Facts:
    """Everything there is to know at the end."""

    picture: Picture
    versions: list[model_pb2.ModelVersion]
    audit: list[registry_pb2.AuditEntry]
    judgements: list[monitor_pb2.Judgement]


class Watch:
    """Keeps `picture` fresh. Failed looks are counted, not raised: a service may be busy."""

    def __init__(self, services: Services) -> None:
        self.picture = Picture()
        self.failures = 0
        self._services = services

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Looks in the background until left."""
        tasks = [
            asyncio.create_task(self._forever(self._follow_plans, FACTS_EVERY_S)),
            asyncio.create_task(self._forever(self.look_at_status, STATUS_EVERY_S)),
            asyncio.create_task(self._forever(self.look_at_facts, FACTS_EVERY_S)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)

    async def look_at_status(self) -> None:
        """The monitor's watermark and counts."""
        request = monitor_pb2.GetMonitorStatusRequest(model=MODEL)
        reply = await self._services.monitor.GetMonitorStatus(request, timeout=CALL_TIMEOUT_S)
        if reply.models:
            self.picture.status = reply.models[0]

    async def _follow_plans(self) -> None:
        """The plan in force, as the registry streams it."""
        async for reply in self._services.registry.WatchPlans(registry_pb2.WatchPlansRequest()):
            if reply.plan.model == MODEL:
                self.picture.plan = reply.plan

    async def look_at_facts(self) -> None:
        """Roll-outs, episodes, runs and decisions."""
        s, picture = self._services, self.picture
        picture.rollouts = await every(
            s.registry.ListRollouts, registry_pb2.ListRolloutsRequest(model=MODEL), "rollouts"
        )
        picture.runs = await every(s.trainer.ListRuns, trainer_pb2.ListRunsRequest(model=MODEL), "runs")
        decisions = trainer_pb2.ListDecisionsRequest(model=MODEL, page_size=1_000)
        picture.decisions = await every(s.trainer.ListDecisions, decisions, "decisions")
        picture.episodes = await every(s.monitor.ListEpisodes, monitor_pb2.ListEpisodesRequest(model=MODEL), "episodes")

    async def everything(self) -> Facts:
        """The last and complete look."""
        await self.look_at_status()
        await self.look_at_facts()
        s = self._services
        versions = registry_pb2.ListModelVersionsRequest(model=MODEL)
        judgements = monitor_pb2.ListJudgementsRequest(model=MODEL, page_size=1_000)
        return Facts(
            self.picture,
            await every(s.registry.ListModelVersions, versions, "versions"),
            await every(s.registry.ListAudit, registry_pb2.ListAuditRequest(page_size=1_000), "entries"),
            await every(s.monitor.ListJudgements, judgements, "judgements"),
        )

    async def _forever(self, look: Any, pause_s: float) -> None:
        while True:
            try:
                await look()
            except grpc.aio.AioRpcError:
                self.failures += 1
            await asyncio.sleep(pause_s)
