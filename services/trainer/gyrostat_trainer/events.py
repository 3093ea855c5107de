"""What the trainer hears and says on the log.

Heard: drift episodes, promotions, serving plans. Said: how a training ended, and that a dataset has a new version.
Every handler's effect and its inbox row are one transaction.
"""

from __future__ import annotations

from gyrostat.events.v1 import events_pb2
from gyrostat_common import inbox, outbox
from gyrostat_common.bus import Event, Received, Route, Tombstone
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_proto, to_us
from gyrostat_trainer import wire
from gyrostat_trainer.domain.episodes import CONFIRMED, OPENED, RESOLVED, SUPERSEDED, Episode
from gyrostat_trainer.domain.runs import DatasetFacts, Run, ServingFacts
from gyrostat_trainer.usecases.decide import Decide
from gyrostat_trainer.usecases.plans import Plans

SOURCE = "gyrostat-trainer"
GROUP = "trainer"
PRODUCTION = "production"
_STATES = {
    events_pb2.EPISODE_STATE_OPENED: OPENED,
    events_pb2.EPISODE_STATE_CONFIRMED: CONFIRMED,
    events_pb2.EPISODE_STATE_RESOLVED: RESOLVED,
    events_pb2.EPISODE_STATE_SUPERSEDED: SUPERSEDED,
}
_KINDS = {number: name.removeprefix("DRIFT_KIND_").lower() for name, number in events_pb2.DriftKind.items()}


class Hearing:
    """Handlers of what comes in."""

    def __init__(self, db: Database, decide: Decide, plans: Plans, environment: str) -> None:
        self._db, self._decide, self._plans, self._environment = db, decide, plans, environment

    def routes(self) -> list[Route]:
        """What the consumer listens to."""
        return [
            Route(events_pb2.DriftDetected, self.drift_detected),
            Route(events_pb2.ModelPromoted, self.model_promoted),
        ]

    async def drift_detected(self, received: Received) -> None:
        """An episode changed its state."""
        episode = episode_from(received.event)
        if episode.environment != self._environment:
            return
        async with self._db.transaction() as tx:
            if await inbox.first_time(tx, received):
                await self._decide.hear(episode)

    async def model_promoted(self, received: Received) -> None:
        """The champion changed; event time went on."""
        said = received.event.payload
        assert isinstance(said, events_pb2.ModelPromoted)
        watermark = from_proto(said.watermark)
        if watermark is None or (said.environment or PRODUCTION) != self._environment:
            return
        async with self._db.transaction() as tx:
            if await inbox.first_time(tx, received):
                await self._decide.hear_watermark(said.model, self._environment, to_us(watermark))

    async def serving_plan(self, received: Received | Tombstone) -> None:
        """Who serves, and the spec in force."""
        if isinstance(received, Received):
            said = received.event.payload
            assert isinstance(said, events_pb2.ServingPlan)
            self._plans.heard(facts_from(said))


def episode_from(event: Event) -> Episode:
    """The news of a drift.detected event; InvalidInput when it names no episode, model or time."""
    said = event.payload
    assert isinstance(said, events_pb2.DriftDetected)
    watermark, started = from_proto(said.watermark), from_proto(said.started_at)
    if not said.episode_id or not said.model or watermark is None or said.state not in _STATES:
        raise InvalidInput("drift.detected needs an episode id, a model, a state and a watermark")
    ended = from_proto(said.ended_at)
    return Episode(
        id=said.episode_id,
        environment=said.environment or PRODUCTION,
        model=said.model,
        version=said.version,
        kind=_KINDS.get(said.kind, "unspecified"),  # one that this release does not know starts nothing
        state=_STATES[said.state],
        started_at_us=to_us(started or watermark),
        ended_at_us=to_us(ended) if ended else None,
        watermark_us=to_us(watermark),
        event_id=event.id,
        correlation_id=event.correlation_id or said.episode_id,
        traceparent=event.traceparent,
        summary=said.summary,
        features=tuple(evidence.feature for evidence in said.features[:5]),
    )


def facts_from(plan: events_pb2.ServingPlan) -> ServingFacts:
    """What training needs of a plan. A candidate is under way while a canary or a candidate shadow is in it."""
    candidates = [shadow for shadow in plan.shadows if shadow.purpose == "candidate"]
    return ServingFacts(
        environment=plan.environment or PRODUCTION,
        model=plan.model,
        champion=plan.champion.number,
        rollout_open=bool(plan.canary.number or candidates),
        spec=wire.spec_from(plan.spec),
    )


class Announcer:
    """Facts into the outbox, in the transaction they are told in."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    async def training_finished(self, run: Run) -> None:
        """How a run ended."""
        message = events_pb2.TrainingFinished(
            run_id=run.id,
            model=run.model,
            causes=run.causes,
            status=run.status,
            snapshot=wire.snapshot(run.snapshot) if run.snapshot else None,
            candidate_version=run.version,
            gates=[wire.gate(result) for result in run.gates],
            error=run.error,
            watermark=wire.stamp(run.watermark_us),
        )
        subject = f"{run.model}:{run.version}" if run.version else run.model
        await self._say(message, run.model, subject, run.correlation_id, run.causation_id, run.traceparent)

    async def dataset_updated(self, dataset: DatasetFacts, actor: str) -> None:
        """A dataset has a new version."""
        message = events_pb2.DatasetUpdated(
            dataset=dataset.name, delta_version=dataset.delta_version, rows=dataset.rows, actor=actor
        )
        await self._say(message, dataset.name, dataset.name, "", "", "")

    async def _say(
        self,
        message: events_pb2.TrainingFinished | events_pb2.DatasetUpdated,
        key: str,
        subject: str,
        correlation_id: str,
        causation_id: str,
        traceparent: str,
    ) -> None:
        event = Event(
            payload=message,
            key=key,
            subject=subject,
            source=SOURCE,
            time=self._clock.now(),
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
        )
        async with self._db.transaction() as tx:
            await outbox.add(tx, event)


__all__ = ["GROUP", "SOURCE", "Announcer", "Hearing", "episode_from", "facts_from"]
