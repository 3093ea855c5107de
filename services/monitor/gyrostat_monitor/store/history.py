"""Episodes with their transitions, and judgements: what was told, for queries and restarts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from gyrostat_common import database
from gyrostat_common.database import Database
from gyrostat_monitor.domain.episodes import Episode
from gyrostat_monitor.domain.history import Judged, Told, Transition
from gyrostat_monitor.domain.judge import Judgement
from gyrostat_monitor.domain.plan import Rollout
from gyrostat_monitor.store import bodies, tables


class History:
    """One per database. Writing methods are for the inside of a transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def save_episode(self, episode: Episode) -> None:
        """Puts the episode as it is now."""
        row = {"state": str(episode.state), "open": int(episode.open), "body": bodies.episode_text(episode)}
        async with self._db.reading() as tx:
            put = database.insert(tx, tables.episodes).values(
                id=episode.id, model=episode.model, version=episode.version, kind=str(episode.kind), **row
            )
            await tx.execute(put.on_conflict_do_update(index_elements=["id"], set_=row))

    async def add_transition(self, episode: Episode, event_id: str, at_us: int) -> str:
        """Remembers that a state was told; returns the id of the event before it, or ""."""
        async with self._db.reading() as tx:
            t = tables.transitions
            query = select(t.c.event_id).where(t.c.episode == episode.id).order_by(t.c.number.desc()).limit(1)
            before = (await tx.execute(query)).scalar()
            await tx.execute(
                t.insert().values(
                    episode=episode.id, state=str(episode.state), watermark_us=episode.watermark_us, at_us=at_us,
                    summary=episode.summary, event_id=event_id, body=bodies.episode_text(episode),
                )
            )  # fmt: skip
            for row in episode.exemplars:
                put = database.insert(tx, tables.exemplars).values(row=row, episode=episode.id)
                await tx.execute(put.on_conflict_do_nothing())
            return str(before or "")

    async def open_episodes(self, model: str) -> list[Episode]:
        """Neither resolved nor superseded, oldest first."""
        async with self._db.reading() as tx:
            e = tables.episodes
            query = select(e.c.body).where(e.c.model == model, e.c.open == 1).order_by(e.c.number)
            return [bodies.episode(row.body) for row in await tx.execute(query)]

    async def episodes(self, model: str, kind: str, open_only: bool, limit: int, before: int | None) -> list[Told]:
        """Newest first."""
        e = tables.episodes
        query = select(e)
        if model:
            query = query.where(e.c.model == model)
        if kind:
            query = query.where(e.c.kind == kind)
        if open_only:
            query = query.where(e.c.open == 1)
        if before is not None:
            query = query.where(e.c.number < before)
        async with self._db.reading() as tx:
            rows = (await tx.execute(query.order_by(e.c.number.desc()).limit(limit))).all()
            return [await self._told(tx, row) for row in rows]

    async def episode(self, id: str) -> Told | None:
        """By id."""
        async with self._db.reading() as tx:
            row = (await tx.execute(select(tables.episodes).where(tables.episodes.c.id == id))).first()
            return None if row is None else await self._told(tx, row)

    async def _told(self, tx: Any, row: Any) -> Told:
        t = tables.transitions
        rows = await tx.execute(select(t).where(t.c.episode == row.id).order_by(t.c.number))
        transitions = tuple(
            Transition(r.state, r.watermark_us, r.at_us, r.summary, r.event_id, bodies.episode(r.body)) for r in rows
        )
        return Told(row.number, bodies.episode(row.body), transitions)

    async def episodes_of_row(self, row: str) -> list[str]:
        """Episodes whose exemplar a prediction is."""
        async with self._db.reading() as tx:
            x = tables.exemplars
            return sorted(r.episode for r in await tx.execute(select(x.c.episode).where(x.c.row == row)))

    async def add_judgement(
        self, model: str, environment: str, rollout: Rollout, revision: int, watermark_us: int, at_us: int,
        event_id: str, judgement: Judgement,
    ) -> None:  # fmt: skip
        """Remembers a verdict that was told."""
        body = {
            "environment": environment, "candidate": rollout.candidate, "baseline": rollout.baseline,
            "revision": revision, "watermark_us": watermark_us, "judgement": asdict(judgement),
        }  # fmt: skip
        async with self._db.reading() as tx:
            await tx.execute(
                tables.judgements.insert().values(
                    model=model, rollout=rollout.id, at_us=at_us, event_id=event_id, body=bodies.dumps(body)
                )
            )

    async def judgements(self, model: str, rollout: str, limit: int, before: int | None) -> Sequence[Judged]:
        """Newest first."""
        j = tables.judgements
        query = select(j)
        if model:
            query = query.where(j.c.model == model)
        if rollout:
            query = query.where(j.c.rollout == rollout)
        if before is not None:
            query = query.where(j.c.number < before)
        async with self._db.reading() as tx:
            return [_judged(r) for r in await tx.execute(query.order_by(j.c.number.desc()).limit(limit))]


def _judged(r: Any) -> Judged:
    body = json.loads(r.body)
    return Judged(
        r.number, r.model, body["environment"], r.rollout, body["candidate"], body["baseline"], body["revision"],
        body["watermark_us"], r.at_us, r.event_id, bodies.judgement(body["judgement"]),
    )  # fmt: skip
