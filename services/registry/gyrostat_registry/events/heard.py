"""What the registry hears: verdicts, episodes, ends of trainings, heartbeats, and its own plans in the log."""

import asyncio
from collections.abc import Awaitable, Callable

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import inbox, telemetry
from gyrostat_common.bus import Held, Received, Route, StateReader, Tombstone
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_proto, from_us
from gyrostat_registry.domain.audit import REGISTRY, Caller
from gyrostat_registry.domain.evidence import Episode, Heard, Judgement, Replica, TrainingEnd
from gyrostat_registry.domain.mending import Unreadable, plan_key
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT
from gyrostat_registry.domain.rollout import Verdict
from gyrostat_registry.domain.run import Imported
from gyrostat_registry.usecases.cases import Cases

_VERDICTS = {
    pb.VERDICT_CONTINUE: Verdict.CONTINUE,
    pb.VERDICT_ADVANCE: Verdict.ADVANCE,
    pb.VERDICT_ROLL_BACK: Verdict.ROLL_BACK,
}
# A number that this release does not know is "unspecified": the episode is kept for lineage all the same.
_STATES = {number: name.removeprefix("EPISODE_STATE_").lower() for name, number in pb.EpisodeState.items()}
_KINDS = {number: name.removeprefix("DRIFT_KIND_").lower() for name, number in pb.DriftKind.items()}
log = telemetry.get_logger("registry")


def routes(cases: Cases, database: Database, clock: Clock) -> list[Route]:
    """Each event has its effect once: its id is kept in the transaction of the effect."""
    ear = Ear(cases)

    def once(handle: Callable[[Received], Awaitable[None]]) -> Callable[[Received], Awaitable[None]]:
        async def handled(received: Received) -> None:
            async with database.transaction() as tx:
                if await inbox.first_time(tx, received, clock):
                    await handle(received)

        return handled

    return [
        Route(pb.CanaryJudged, handle=once(ear.judged)),
        Route(pb.DriftDetected, handle=once(ear.drifted)),
        Route(pb.TrainingFinished, handle=once(ear.trained)),
        Route(pb.DatasetUpdated, handle=once(ear.imported)),
        # The newest heartbeat wins, so a repeat needs no memory.
        Route(pb.PlanApplied, handle=ear.applied),
    ]


class Ear:
    """Turns events into calls of use cases."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    async def judged(self, received: Received) -> None:
        """canary.judged: what the registry does follows from this event, so it becomes the cause."""
        event = received.event
        caller = Caller(REGISTRY, correlation_id=event.correlation_id, causation_id=event.id)
        kept = await self._cases.rollouts.judged(judgement_of(received), caller)
        log.info(
            "canary_judged", model=kept.model, version=kept.version, rollout_id=kept.rollout_id,
            verdict=str(kept.verdict), outcome=kept.outcome, paired_rows=kept.paired_rows,
        )  # fmt: skip

    async def drifted(self, received: Received) -> None:
        """drift.detected: kept for lineage."""
        await self._cases.evidence.episode_heard(episode_of(received))

    async def trained(self, received: Received) -> None:
        """training.finished: kept for lineage."""
        await self._cases.evidence.training_heard(training_of(received))

    async def imported(self, received: Received) -> None:
        """dataset.updated: a line of the audit log."""
        said = received.event.payload
        assert isinstance(said, pb.DatasetUpdated)
        imported = Imported(received.event.id, said.dataset, said.delta_version, said.rows, said.actor)
        await self._cases.runs.imported(imported)

    async def applied(self, received: Received) -> None:
        """plan.applied: what a replica serves now."""
        payload = received.event.payload
        assert isinstance(payload, pb.PlanApplied)
        at = from_proto(payload.at) or from_us(received.timestamp_ms * 1000)
        environment = payload.environment or DEFAULT_ENVIRONMENT
        replica = Replica(payload.replica, environment, at, payload.SerializeToString())
        await self._cases.evidence.replica_heard(replica)


def judgement_of(received: Received) -> Judgement:
    """A canary.judged event. InvalidInput without a verdict or a watermark: the registry has no clock to decide by."""
    said = received.event.payload
    assert isinstance(said, pb.CanaryJudged)
    watermark = from_proto(said.watermark)
    if said.verdict not in _VERDICTS or watermark is None or not said.model:
        raise InvalidInput("canary.judged needs a model, a verdict and a watermark")
    return Judgement(
        event_id=received.event.id, rollout_id=said.rollout_id, environment=said.environment or DEFAULT_ENVIRONMENT,
        model=said.model, version=said.version, baseline=said.baseline, plan_revision=said.plan_revision,
        verdict=_VERDICTS[said.verdict], watermark=watermark, at=received.event.time, paired_rows=said.paired_rows,
        rows_needed=said.rows_needed, answers=said.answers, summary=said.summary,
        guards=tuple(f"{guard.guard}: {guard.text}" for guard in said.guards),
        numbers={f"{guard.guard}.{name}": value for guard in said.guards for name, value in guard.numbers.items()},
    )  # fmt: skip


def episode_of(received: Received) -> Episode:
    """A drift.detected event."""
    said = received.event.payload
    assert isinstance(said, pb.DriftDetected)
    if not said.episode_id or not said.model:
        raise InvalidInput("drift.detected needs an episode and a model")
    state = _STATES.get(said.state, "unspecified")
    features = tuple(f.text or f"{f.feature} {f.statistic} {f.value:.3g}" for f in said.features[:20])
    exemplars = tuple(said.exemplars[:100])
    heard = Heard(
        state, from_proto(said.watermark), received.event.id, received.event.time, said.summary, features, exemplars
    )
    return Episode(
        id=said.episode_id, environment=said.environment or DEFAULT_ENVIRONMENT, model=said.model,
        version=said.version, kind=_KINDS.get(said.kind, "unspecified"), state=state,
        started_at=from_proto(said.started_at), severity=said.severity, effect=said.effect, summary=said.summary,
        features=features, exemplars=exemplars, heard=(heard,),
    )  # fmt: skip


def training_of(received: Received) -> TrainingEnd:
    """A training.finished event."""
    said = received.event.payload
    assert isinstance(said, pb.TrainingFinished)
    return TrainingEnd(
        event_id=received.event.id, run_id=said.run_id, model=said.model, status=said.status,
        candidate_version=said.candidate_version, causes=tuple(said.causes), error=said.error,
        at=received.event.time,
    )  # fmt: skip


class PlanMirror:
    """What lies in `serving.plan`: per key the revision that compaction keeps, the highest that was seen, and what
    cannot be read. `held` is set when another record cannot be.
    """

    def __init__(self) -> None:
        self.last: dict[tuple[str, str], int] = {}
        self.highest: dict[tuple[str, str], int] = {}
        self.held = asyncio.Event()
        self._reader: StateReader | None = None

    def reads(self, reader: StateReader) -> None:
        """The reader that hands over."""
        self._reader = reader

    async def heard(self, received: Received | Tombstone) -> None:
        """One record of the topic. A tombstone is nobody's: the key counts as missing."""
        if isinstance(received, Tombstone):
            environment, _, model = (received.key or "").partition("/")
            self.last.pop((environment, model), None)
            return
        plan = received.event.payload
        assert isinstance(plan, pb.ServingPlan)
        key = (plan.environment, plan.model)
        self.last[key] = plan.revision
        self.highest[key] = max(self.highest.get(key, 0), plan.revision)

    def on_held(self, held: Held) -> None:
        """A record cannot be read."""
        self.held.set()

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Keys whose newest record cannot be read."""
        held = self._reader.held if self._reader is not None else ()
        return tuple(Unreadable(one.key or b"", str(one)) for one in held)

    def holds(self, key: bytes) -> bool:
        """Whether a readable plan lies under the key."""
        return plan_key(key) in self.last
