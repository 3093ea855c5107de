"""What the monitor says: drift.detected, canary.judged, outcome.recorded, alert.raised, through the outbox of the open
transaction."""

from __future__ import annotations

from collections.abc import Sequence

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import outbox, telemetry
from gyrostat_common.bus import Event
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_common.times import to_proto
from gyrostat_monitor.domain.alerts import Alert
from gyrostat_monitor.domain.episodes import Episode
from gyrostat_monitor.domain.judge import Judgement
from gyrostat_monitor.domain.outcomes import Outcome
from gyrostat_monitor.domain.plan import Plan, Rollout
from gyrostat_monitor.events import encoding

SOURCE = "gyrostat-monitor"
log = telemetry.get_logger("monitor")


class Announcer:
    """Puts events into the outbox."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db, self._clock = database, clock

    async def episode(self, episode: Episode, event_id: str, causation_id: str) -> None:
        """drift.detected."""
        await self._send(
            encoding.episode(episode), episode.model, f"{episode.model}:{episode.version}", event_id, episode.id,
            causation_id,
        )  # fmt: skip
        log.info(
            "episode", episode=episode.id, model=episode.model, version=episode.version, kind=str(episode.kind),
            state=str(episode.state), watermark_us=episode.watermark_us, summary=episode.summary[:300],
        )  # fmt: skip

    async def judgement(
        self, plan: Plan, rollout: Rollout, judgement: Judgement, watermark_us: int, event_id: str, causation_id: str
    ) -> None:
        """canary.judged."""
        versions = (rollout.candidate, rollout.baseline)
        payload = encoding.judged(
            rollout.id, plan.environment, plan.model, versions, plan.revision, watermark_us, judgement
        )
        correlation = plan.correlation_id or rollout.id
        await self._send(payload, plan.model, f"{plan.model}:{rollout.candidate}", event_id, correlation, causation_id)
        log.info(
            "canary_judged", model=plan.model, rollout=rollout.id, revision=plan.revision, phase=str(rollout.phase),
            verdict=str(judgement.verdict), paired_rows=judgement.paired_rows, summary=judgement.summary[:300],
        )  # fmt: skip

    async def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """outcome.recorded, one event each, in order."""
        at = self._clock.now()
        events = [
            Event(
                payload=encoding.outcome(o), key=o.ref.key, subject=o.model, source=SOURCE, id=o.event_id, time=at,
                correlation_id="", causation_id="",
            )
            for o in outcomes
        ]  # fmt: skip
        async with self._db.transaction() as tx:
            await outbox.add_all(tx, events)

    async def alert(self, alert: Alert, owner: str, firing: bool) -> None:
        """alert.raised."""
        now = self._clock.now()
        payload = pb.AlertRaised(
            alert_id=alert.id, rule=alert.rule, model=alert.model, severity=alert.severity, firing=firing, owner=owner,
            summary=alert.summary, at=to_proto(now), evidence=alert.evidence,
        )  # fmt: skip
        async with self._db.transaction() as tx:
            event = Event(payload=payload, key=alert.id, subject=alert.id, source=SOURCE, time=now)
            await outbox.add(tx, event)
        word = "alert" if firing else "alert_over"
        log.warning(word, alert=alert.id, rule=alert.rule, model=alert.model, summary=alert.summary)

    async def _send(
        self, payload: pb.DriftDetected | pb.CanaryJudged, key: str, subject: str, id_: str, correlation: str,
        causation: str,
    ) -> None:  # fmt: skip
        event = Event(
            payload=payload, key=key, subject=subject, source=SOURCE, id=id_, time=self._clock.now(),
            correlation_id=correlation, causation_id=causation,
        )  # fmt: skip
        async with self._db.transaction() as tx:
            await outbox.add(tx, event)
