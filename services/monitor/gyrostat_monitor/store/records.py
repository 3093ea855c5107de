"""What is remembered of plans, streams and progress. Writing methods are for the inside of `transaction()`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common import database, inbox, marks
from gyrostat_common.bus import Received
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_monitor.domain.plan import Plan, ProfileRef
from gyrostat_monitor.domain.watermark import Stream
from gyrostat_monitor.store import bodies, tables


class Records:
    """Plans, profiles, streams, progress, counters, offsets."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing; on PostgreSQL one at a time over all monitors, as on SQLite."""
        async with self._db.transaction() as tx:
            await database.exclusive(tx, "gyrostat-monitor")
            yield

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The open transaction's connection, or one for reading."""
        return self._db.reading()

    async def unseen(self, received: Iterable[Received]) -> list[Received]:
        """Control events that come for the first time, each once by (source, id)."""
        async with self.connection() as tx:
            return await inbox.first_times(tx, list(received), self._clock)

    # Marks

    async def high_waters(self, sink: str, streams: Iterable[str]) -> dict[str, int]:
        """Stream → last frame the sink has taken in."""
        async with self.connection() as tx:
            return await marks.high_waters(tx, sink, streams)

    async def advance_marks(self, sink: str, frames: Mapping[str, int]) -> None:
        """Raises the marks."""
        async with self.connection() as tx:
            await marks.advance(tx, sink, frames)

    # Plans

    async def save_plan(self, plan: Plan) -> bool:
        """False when the same or a newer revision is there already."""
        async with self.connection() as tx:
            insert = database.insert(tx, tables.plans).values(
                environment=plan.environment, model=plan.model, revision=plan.revision, body=bodies.plan_text(plan)
            )
            result = await tx.execute(
                insert.on_conflict_do_update(
                    index_elements=["environment", "model"],
                    set_={"revision": insert.excluded.revision, "body": insert.excluded.body},
                    where=tables.plans.c.revision < plan.revision,
                )
            )
            if result.rowcount == 0:
                return False
            for version, ref in plan.profiles.items():
                row = {"sha256": ref.sha256 if ref else "", "uri": ref.uri if ref else ""}
                put = database.insert(tx, tables.profiles).values(model=plan.model, version=version, **row)
                await tx.execute(put.on_conflict_do_update(index_elements=["model", "version"], set_=row))
            return True

    async def plans(self, environment: str) -> dict[str, Plan]:
        """Model → plan in force."""
        async with self.connection() as tx:
            query = select(tables.plans.c.model, tables.plans.c.body).where(tables.plans.c.environment == environment)
            return {model: bodies.plan(body) for model, body in await tx.execute(query)}

    async def profile_refs(self) -> dict[tuple[str, int], ProfileRef | None]:
        """(model, version) of every version a plan ever named → its profile."""
        async with self.connection() as tx:
            return {
                (r.model, r.version): ProfileRef(r.sha256, r.uri) if r.sha256 else None
                for r in await tx.execute(select(tables.profiles))
            }

    # Streams and progress

    async def streams(self, model: str) -> dict[str, Stream]:
        """Streams of a model."""
        async with self.connection() as tx:
            rows = await tx.execute(select(tables.streams).where(tables.streams.c.model == model))
            return {r.stream: Stream(r.event_us, r.seen_us) for r in rows}

    async def save_streams(self, model: str, streams: Mapping[str, Stream]) -> None:
        """Puts them."""
        rows = [
            {"model": model, "stream": name, "event_us": s.event_us, "seen_us": s.seen_us}
            for name, s in sorted(streams.items())
        ]
        async with self.connection() as tx:
            insert = database.insert(tx, tables.streams)
            update = {"event_us": insert.excluded.event_us, "seen_us": insert.excluded.seen_us}
            await tx.execute(insert.on_conflict_do_update(index_elements=["model", "stream"], set_=update), rows)

    async def models(self) -> list[str]:
        """Models that anything has been heard of."""
        async with self.connection() as tx:
            query = select(tables.streams.c.model).union(select(tables.plans.c.model), select(tables.outcomes.c.model))
            return sorted(row[0] for row in await tx.execute(query))

    async def touch_streams(self, now_us: int) -> None:
        """After a start every known stream counts as active: what it has to say may still lie in the log."""
        async with self.connection() as tx:
            await tx.execute(tables.streams.update().values(seen_us=now_us))

    async def progress(self, model: str) -> dict[str, str]:
        """Cursors and small states by name."""
        async with self.connection() as tx:
            query = select(tables.progress.c.name, tables.progress.c.value).where(tables.progress.c.model == model)
            return {row.name: row.value for row in await tx.execute(query)}

    async def save_progress(self, model: str, values: Mapping[str, str | None]) -> None:
        """Puts them; None removes."""
        async with self.connection() as tx:
            gone = [name for name, value in values.items() if value is None]
            if gone:
                where = (tables.progress.c.model == model) & tables.progress.c.name.in_(gone)
                await tx.execute(delete(tables.progress).where(where))
            rows = [{"model": model, "name": n, "value": v} for n, v in sorted(values.items()) if v is not None]
            if rows:
                insert = database.insert(tx, tables.progress)
                update = {"value": insert.excluded.value}
                await tx.execute(insert.on_conflict_do_update(index_elements=["model", "name"], set_=update), rows)

    async def count(self, model: str, amounts: Mapping[str, int]) -> None:
        """Adds to counters."""
        rows = [{"model": model, "name": n, "value": v} for n, v in sorted(amounts.items()) if v]
        if not rows:
            return
        async with self.connection() as tx:
            insert = database.insert(tx, tables.counters)
            update = {"value": tables.counters.c.value + insert.excluded.value}
            await tx.execute(insert.on_conflict_do_update(index_elements=["model", "name"], set_=update), rows)

    async def counters(self, model: str) -> dict[str, int]:
        """Counters by name."""
        async with self.connection() as tx:
            query = select(tables.counters.c.name, tables.counters.c.value).where(tables.counters.c.model == model)
            return {row.name: row.value for row in await tx.execute(query)}

    async def save_offsets(self, positions: Mapping[str, int]) -> None:
        """Topic partition → last offset taken in."""
        rows = [{"topic_partition": tp, "next_offset": o} for tp, o in sorted(positions.items())]
        if not rows:
            return
        async with self.connection() as tx:
            insert = database.insert(tx, tables.offsets)
            update = {"next_offset": insert.excluded.next_offset}
            await tx.execute(insert.on_conflict_do_update(index_elements=["topic_partition"], set_=update), rows)

    async def offsets(self) -> dict[str, int]:
        """Topic partition → last offset taken in."""
        async with self.connection() as tx:
            return {r.topic_partition: r.next_offset for r in await tx.execute(select(tables.offsets))}

    async def alert_changed(self, alert: str, firing: bool, at_us: int) -> bool:
        """Stores whether an alert fires; True when that is news."""
        async with self.connection() as tx:
            query = select(tables.alerts.c.firing).where(tables.alerts.c.alert == alert)
            before = (await tx.execute(query)).scalar()
            if bool(before) == firing:
                return False
            row = {"firing": int(firing), "at_us": at_us}
            put = database.insert(tx, tables.alerts).values(alert=alert, **row)
            await tx.execute(put.on_conflict_do_update(index_elements=["alert"], set_=row))
            return True
