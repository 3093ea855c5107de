"""What is remembered of episodes, judgements, trainings, replicas and the audit log."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select

from gyrostat_common.database import insert as insert_or
from gyrostat_common.times import from_us, to_us
from gyrostat_registry.domain.audit import AuditEntry
from gyrostat_registry.domain.evidence import Episode, Judgement, Replica, TrainingEnd
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.store.connection import OnConnection, listed
from gyrostat_registry.store.documents import dumped, loaded
from gyrostat_registry.store.tables import audit, episodes, judgements, replicas, trainings


class History(OnConnection):
    """Rows that say what was heard and who did what."""

    async def episode(self, episode_id: str) -> Episode | None:
        """The episode, if it was heard of."""
        body = (await self._tx.execute(select(episodes.c.body).where(episodes.c.id == episode_id))).scalar()
        return None if body is None else loaded(Episode, body)

    async def save_episode(self, episode: Episode) -> None:
        """Adds or replaces."""
        row = {"id": episode.id, "model": episode.model, "body": dumped(episode)}
        put = insert_or(self._tx, episodes).values(row)
        await self._tx.execute(put.on_conflict_do_update(index_elements=["id"], set_={"body": row["body"]}))

    async def add_judgement(self, judgement: Judgement) -> None:
        """A verdict; the same event twice is kept once."""
        row = {
            "event_id": judgement.event_id, "rollout_id": judgement.rollout_id, "model": judgement.model,
            "version": judgement.version, "body": dumped(judgement),
        }  # fmt: skip
        await self._tx.execute(insert_or(self._tx, judgements).values(row).on_conflict_do_nothing())

    async def judgements_of(self, model: str, version: int) -> tuple[Judgement, ...]:
        """All of one candidate, oldest first."""
        query = select(judgements.c.body).where(judgements.c.model == model, judgements.c.version == version)
        bodies = (await self._tx.execute(query.order_by(judgements.c.number))).scalars()
        return tuple(loaded(Judgement, body) for body in bodies)

    async def judgements_named(self, event_ids: Sequence[str]) -> tuple[Judgement, ...]:
        """Those that were heard of, oldest first."""
        query = select(judgements.c.body).where(judgements.c.event_id.in_(sorted(set(event_ids))))
        bodies = (await self._tx.execute(query.order_by(judgements.c.number))).scalars()
        return tuple(loaded(Judgement, body) for body in bodies)

    async def add_training(self, training: TrainingEnd) -> None:
        """A training that ended; the same event twice is kept once."""
        row = {
            "event_id": training.event_id, "run_id": training.run_id, "model": training.model, "body": dumped(training),
        }  # fmt: skip
        await self._tx.execute(insert_or(self._tx, trainings).values(row).on_conflict_do_nothing())

    async def trainings_of(self, run_id: str) -> tuple[TrainingEnd, ...]:
        """What was heard of a run's end."""
        bodies = (await self._tx.execute(select(trainings.c.body).where(trainings.c.run_id == run_id))).scalars()
        return tuple(loaded(TrainingEnd, body) for body in bodies)

    async def save_replica(self, replica: Replica) -> None:
        """What a replica serves now; an older heartbeat changes nothing."""
        at = to_us(replica.at)
        row = {"environment": replica.environment, "name": replica.name, "at_us": at, "payload": replica.payload}
        put = insert_or(self._tx, replicas).values(row)
        changed = put.on_conflict_do_update(
            index_elements=["environment", "name"],
            set_={"at_us": at, "payload": replica.payload},
            where=replicas.c.at_us <= at,
        )
        await self._tx.execute(changed)

    async def replicas(self, environment: str) -> tuple[Replica, ...]:
        """By name."""
        query = select(replicas).where(replicas.c.environment == environment).order_by(replicas.c.name)
        rows = await self._tx.execute(query)
        return tuple(Replica(row.name, row.environment, from_us(row.at_us), row.payload) for row in rows)

    async def forget_replicas(self, before: datetime) -> None:
        """Forgets those not heard of since."""
        await self._tx.execute(delete(replicas).where(replicas.c.at_us < to_us(before)))

    async def add_audit(self, entry: AuditEntry) -> None:
        """One more line; lines are never changed."""
        row = {
            "at_us": to_us(entry.at), "actor": entry.actor, "action": entry.action, "subject": entry.subject,
            "model": entry.model, "reason": entry.reason, "correlation_id": entry.correlation_id,
            "causation_id": entry.causation_id, "detail_json": entry.detail_json, "request_id": entry.request_id,
        }  # fmt: skip
        await self._tx.execute(insert(audit).values(row))

    async def audit(self, model: str, actor: str, page: Page) -> Listed[AuditEntry]:
        """Newest first, of one model or actor or of all ("")."""
        query = select(audit).order_by(audit.c.number.desc())
        if model:
            query = query.where(audit.c.model == model)
        if actor:
            query = query.where(audit.c.actor == actor)
        if page.after_number is not None:
            query = query.where(audit.c.number < page.after_number)
        rows = (await self._tx.execute(query.limit(page.size + 1))).all()
        return listed(rows, page, _entry, lambda row: str(row.number))


def _entry(row: object) -> AuditEntry:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    at = from_us(values.pop("at_us"))
    return AuditEntry(at=at, **values)
