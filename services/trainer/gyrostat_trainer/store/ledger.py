"""The ledger: runs and their journal, causes, decisions, datasets. One suite runs it on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, Table, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.database import Database, exclusive, insert
from gyrostat_trainer.domain.episodes import CONFIRMED, OPENED, Episode
from gyrostat_trainer.domain.errors import RunUnknown
from gyrostat_trainer.domain.runs import CANCELLED, OPEN, QUEUED, RUNNING, DatasetFacts, Decision, Run
from gyrostat_trainer.domain.spec import DATA_QUALITY
from gyrostat_trainer.store import tables as t
from gyrostat_trainer.store.documents import episode_from, episode_text, run_from, run_text

_OPEN_STATES = (OPENED, CONFIRMED)


class Ledger:
    """Statements on one database. Each joins the transaction of the task that makes it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """What is done within is done together or not at all."""
        return self._db.transaction()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back when the transaction has been committed."""
        self._db.after_commit(callback)

    async def alone_with(self, model: str) -> None:
        """Until the transaction ends nobody else decides about this model."""
        async with self._db.transaction() as tx:
            await exclusive(tx, f"trainer decisions {model}")

    # Runs

    async def run(self, run_id: str) -> Run:
        """RunUnknown when there is none."""
        found = await self._texts(select(t.runs.c.record).where(t.runs.c.id == run_id))
        if not found:
            raise RunUnknown(f"no run {run_id!r}")
        return run_from(found[0])

    async def run_of_cause(self, cause: str) -> Run | None:
        """The run that a cause has, whatever became of it."""
        found = await self._texts(select(t.runs.c.record).where(t.runs.c.cause == cause))
        return run_from(found[0]) if found else None

    async def add_run(self, run: Run) -> None:
        """A second run of the same cause breaks the unique key and rolls everything back."""
        async with self._db.transaction() as tx:
            await tx.execute(t.runs.insert().values(id=run.id, reported=False, **_columns(run)))

    async def save_run(self, run: Run) -> None:
        """The run as it is now."""
        async with self._db.transaction() as tx:
            await tx.execute(update(t.runs).where(t.runs.c.id == run.id).values(**_columns(run)))

    async def open_run(self, model: str, environment: str) -> Run | None:
        """The oldest queued or running run of a model that is not held back from roll-out."""
        query = (
            select(t.runs.c.record)
            .where(t.runs.c.model == model, t.runs.c.environment == environment)
            .where(t.runs.c.status.in_(OPEN), t.runs.c.hold.is_(False))
        )
        found = await self._texts(query.order_by(t.runs.c.created_at_us, t.runs.c.id).limit(1))
        return run_from(found[0]) if found else None

    async def next_run(self) -> Run | None:
        """What the worker does next: a run that a process before left running, else the oldest queued one."""
        for status in (RUNNING, QUEUED):
            query = select(t.runs.c.record).where(t.runs.c.status == status)
            found = await self._texts(query.order_by(t.runs.c.created_at_us, t.runs.c.id).limit(1))
            if found:
                return run_from(found[0])
        return None

    async def runs(self, model: str, limit: int, before: str) -> list[Run]:
        """Newest first, older than run `before` when that is given; every model's when `model` is empty."""
        query = select(t.runs.c.record)
        if model:
            query = query.where(t.runs.c.model == model)
        if before:
            mark = (await self.run(before)).created_at_us
            older = t.runs.c.created_at_us < mark
            query = query.where(older | and_(t.runs.c.created_at_us == mark, t.runs.c.id < before))
        query = query.order_by(t.runs.c.created_at_us.desc(), t.runs.c.id.desc()).limit(limit)
        return [run_from(text) for text in await self._texts(query)]

    async def trainings_us(self, model: str, environment: str) -> tuple[int, ...]:
        """Event times of a model's trainings, but for cancelled ones and those held back from roll-out."""
        query = select(t.runs.c.trained_at_us).where(
            t.runs.c.model == model,
            t.runs.c.environment == environment,
            t.runs.c.status != CANCELLED,
            t.runs.c.hold.is_(False),
            t.runs.c.trained_at_us.is_not(None),
        )
        async with self._db.reading() as tx:
            return tuple(int(at) for (at,) in await tx.execute(query))

    async def unreported(self) -> list[Run]:
        """Runs that ended and whose end the registry was not told yet."""
        query = select(t.runs.c.record).where(t.runs.c.status.not_in(OPEN), t.runs.c.reported.is_(False))
        return [run_from(text) for text in await self._texts(query.order_by(t.runs.c.created_at_us))]

    async def mark_reported(self, run_id: str) -> None:
        """The registry was told."""
        async with self._db.transaction() as tx:
            await tx.execute(update(t.runs).where(t.runs.c.id == run_id).values(reported=True))

    # The journal

    async def steps(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Step → what it left; a step that is not in it has not been done."""
        query = select(t.steps.c.step, t.steps.c.result).where(t.steps.c.run_id == run_id)
        async with self._db.reading() as tx:
            return {step: json.loads(result) for step, result in await tx.execute(query)}

    async def save_step(self, run_id: str, step: str, result: dict[str, Any], at_us: int) -> None:
        """The step is done and will not be done again."""
        values = {"run_id": run_id, "step": step, "result": json.dumps(result), "done_at_us": at_us}
        await self._put(t.steps, values, "run_id", "step")

    # Causes

    async def episode(self, episode_id: str) -> Episode | None:
        """None: never heard of."""
        found = await self._texts(select(t.episodes.c.record).where(t.episodes.c.id == episode_id))
        return episode_from(found[0]) if found else None

    async def save_episode(self, episode: Episode) -> None:
        """The episode as it is now."""
        columns = {name: getattr(episode, name) for name in ("id", "model", "environment", "kind", "state")}
        await self._put(t.episodes, {**columns, "record": episode_text(episode)}, "id")

    async def open_episodes(self, model: str, environment: str) -> list[Episode]:
        """Opened or confirmed, of every kind."""
        return await self._episodes(model, environment, t.episodes.c.state.in_(_OPEN_STATES))

    async def data_quality_episodes(self, model: str, environment: str) -> list[Episode]:
        """Open and over."""
        return await self._episodes(model, environment, t.episodes.c.kind == DATA_QUALITY)

    async def _episodes(self, model: str, environment: str, which: Any) -> list[Episode]:
        query = select(t.episodes.c.record).where(
            t.episodes.c.model == model, t.episodes.c.environment == environment, which
        )
        return [episode_from(text) for text in await self._texts(query.order_by(t.episodes.c.id))]

    async def models_with_open_episodes(self) -> list[tuple[str, str]]:
        """(model, environment) whose causes may be waiting; data-quality episodes cause nothing."""
        query = (
            select(t.episodes.c.model, t.episodes.c.environment)
            .where(t.episodes.c.state == CONFIRMED, t.episodes.c.kind != DATA_QUALITY)
            .distinct()
        )
        async with self._db.reading() as tx:
            return [(model, environment) for model, environment in await tx.execute(query)]

    async def add_decision(self, decision: Decision) -> None:
        """Kept for ever."""
        values = {name: value for name, value in asdict(decision).items() if name != "number"}
        async with self._db.transaction() as tx:
            await tx.execute(t.decisions.insert().values(**values))

    async def decisions(self, model: str, limit: int, before: int) -> list[Decision]:
        """Newest first, with a smaller number than `before` when that is given."""
        query = select(t.decisions)
        if model:
            query = query.where(t.decisions.c.model == model)
        if before:
            query = query.where(t.decisions.c.number < before)
        async with self._db.reading() as tx:
            rows = await tx.execute(query.order_by(t.decisions.c.number.desc()).limit(limit))
            return [Decision(**row._asdict()) for row in rows]

    async def watermark_us(self, model: str, environment: str) -> int | None:
        """The newest event time up to which the monitor said it has seen everything."""
        query = select(t.watermarks.c.watermark_us).where(
            t.watermarks.c.model == model, t.watermarks.c.environment == environment
        )
        async with self._db.reading() as tx:
            found = (await tx.execute(query)).scalar_one_or_none()
        return None if found is None else int(found)

    async def raise_watermark(self, model: str, environment: str, watermark_us: int) -> int:
        """A watermark never goes back; returns the newest."""
        known = await self.watermark_us(model, environment)
        if known is not None and known >= watermark_us:
            return known
        values = {"model": model, "environment": environment, "watermark_us": watermark_us}
        await self._put(t.watermarks, values, "model", "environment")
        return watermark_us

    # Datasets

    async def save_dataset(self, dataset: DatasetFacts) -> None:
        """Its newest version."""
        await self._put(t.datasets, asdict(dataset), "name")

    async def datasets(self) -> list[DatasetFacts]:
        """By name."""
        async with self._db.reading() as tx:
            return [
                DatasetFacts(**row._asdict())
                for row in await tx.execute(select(t.datasets).order_by(t.datasets.c.name))
            ]

    async def imported(self, request_id: str) -> tuple[str, DatasetFacts] | None:
        """(sha256, dataset as it was made) of a request that was done."""
        query = select(t.imports.c.sha256, t.imports.c.dataset).where(t.imports.c.request_id == request_id)
        async with self._db.reading() as tx:
            row = (await tx.execute(query)).one_or_none()
        return (row[0], DatasetFacts(**json.loads(row[1]))) if row else None

    async def save_import(self, request_id: str, sha256: str, dataset: DatasetFacts) -> None:
        """The request is done."""
        values = {"request_id": request_id, "sha256": sha256, "dataset": json.dumps(asdict(dataset))}
        await self._put(t.imports, values, "request_id")

    async def _texts(self, query: Select[Any]) -> list[str]:
        async with self._db.reading() as tx:
            return [str(text) for (text,) in await tx.execute(query)]

    async def _put(self, table: Table, values: dict[str, Any], *key: str) -> None:
        async with self._db.transaction() as tx:
            statement = insert(tx, table).values(**values)
            others = {name: value for name, value in values.items() if name not in key}
            await tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=others))


def _columns(run: Run) -> dict[str, Any]:
    named = {name: getattr(run, name) for name in ("model", "environment", "cause", "status", "hold", "created_at_us")}
    return {**named, "trained_at_us": run.trained_at_us, "record": run_text(run)}
