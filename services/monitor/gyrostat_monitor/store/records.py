"""What is remembered of plans, streams and progress. Writing methods are for the inside of `transaction()`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common import database
from gyrostat_common import tables as common
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_monitor.domain.plan import Plan, ProfileRef
from gyrostat_monitor.domain.watermark import Stream
from gyrostat_monitor.store import bodies, tables

AT_ONCE = 400


@dataclass
class _Pending:
    """What a transaction has read and not yet written of small things: each is read once and written once."""

    progress: dict[str, dict[str, str]] = field(default_factory=dict)
    changed: dict[str, dict[str, str | None]] = field(default_factory=dict)
    streams: dict[str, dict[str, Stream]] = field(default_factory=dict)
    heard: dict[str, dict[str, Stream]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


_pending: ContextVar[_Pending | None] = ContextVar("gyrostat_monitor_pending", default=None)


class Records:
    """Plans, profiles, streams, progress, counters, offsets."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock
        self._positions: dict[str, int] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing; on PostgreSQL one at a time over all monitors, as on SQLite. Not to be nested."""
        async with self._db.transaction() as tx:
            await database.exclusive(tx, "gyrostat-monitor")
            pending = _Pending()
            token = _pending.set(pending)
            try:
                yield
                await self._flush(tx, pending)
            finally:
                _pending.reset(token)

    async def _flush(self, tx: AsyncConnection, pending: _Pending) -> None:
        for model, values in pending.changed.items():
            await self._write_progress(tx, model, values)
        for model, streams in pending.heard.items():
            await self._write_streams(tx, model, streams)
        await self._write_counts(tx, pending.counts)

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The open transaction's connection, or one for reading."""
        return self._db.reading()

    # Marks

    async def high_waters(self, sinks: Sequence[str], streams: Iterable[str]) -> dict[str, int]:
        """Stream → last frame that every one of the sinks has taken in."""
        names = sorted(set(streams))
        found: dict[tuple[str, str], int] = {}
        async with self.connection() as tx:
            m = common.marks.c
            for start in range(0, len(names), AT_ONCE):
                query = select(m.sink, m.stream, m.frame_no).where(
                    m.sink.in_(sinks), m.stream.in_(names[start : start + AT_ONCE])
                )
                found.update({(r.sink, r.stream): r.frame_no for r in await tx.execute(query)})
        return {name: min(found.get((sink, name), 0) for sink in sinks) for name in names}

    async def advance_marks(self, sinks: Sequence[str], frames: Mapping[str, int]) -> None:
        """Raises the marks of the sinks."""
        rows = [{"sink": s, "stream": stream, "frame_no": n} for s in sinks for stream, n in sorted(frames.items())]
        if not rows:
            return
        async with self.connection() as tx:
            insert = database.insert(tx, common.marks)
            update, where = {"frame_no": insert.excluded.frame_no}, common.marks.c.frame_no < insert.excluded.frame_no
            await tx.execute(
                insert.on_conflict_do_update(index_elements=["sink", "stream"], set_=update, where=where), rows
            )

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
        pending = _pending.get()
        if pending is not None and model in pending.streams:
            return dict(pending.streams[model])
        async with self.connection() as tx:
            rows = await tx.execute(select(tables.streams).where(tables.streams.c.model == model))
            found = {r.stream: Stream(r.event_us, r.seen_us) for r in rows}
        if pending is not None:
            pending.streams[model] = dict(found)
        return found

    async def save_streams(self, model: str, streams: Mapping[str, Stream]) -> None:
        """Puts them."""
        pending = _pending.get()
        if pending is None:
            async with self.connection() as tx:
                return await self._write_streams(tx, model, streams)
        await self.streams(model)
        pending.streams[model].update(streams)
        pending.heard.setdefault(model, {}).update(streams)

    async def _write_streams(self, tx: AsyncConnection, model: str, streams: Mapping[str, Stream]) -> None:
        rows = [
            {"model": model, "stream": name, "event_us": s.event_us, "seen_us": s.seen_us}
            for name, s in sorted(streams.items())
        ]
        if rows:
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
        pending = _pending.get()
        if pending is not None and model in pending.progress:
            return dict(pending.progress[model])
        async with self.connection() as tx:
            query = select(tables.progress.c.name, tables.progress.c.value).where(tables.progress.c.model == model)
            found = {row.name: row.value for row in await tx.execute(query)}
        if pending is not None:
            pending.progress[model] = dict(found)
        return found

    async def save_progress(self, model: str, values: Mapping[str, str | None]) -> None:
        """Puts them; None removes."""
        pending = _pending.get()
        if pending is None:
            async with self.connection() as tx:
                return await self._write_progress(tx, model, values)
        known = await self.progress(model)
        known.update({n: v for n, v in values.items() if v is not None})
        pending.progress[model] = {n: v for n, v in known.items() if values.get(n, v) is not None}
        pending.changed.setdefault(model, {}).update(values)

    async def _write_progress(self, tx: AsyncConnection, model: str, values: Mapping[str, str | None]) -> None:
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
        added = Counter({(model, name): n for name, n in amounts.items() if n})
        pending = _pending.get()
        if pending is None:
            async with self.connection() as tx:
                return await self._write_counts(tx, added)
        for key, n in added.items():
            pending.counts[key] += n

    async def _write_counts(self, tx: AsyncConnection, amounts: Mapping[tuple[str, str], int]) -> None:
        rows = [{"model": model, "name": name, "value": n} for (model, name), n in sorted(amounts.items()) if n]
        if rows:
            insert = database.insert(tx, tables.counters)
            update = {"value": tables.counters.c.value + insert.excluded.value}
            await tx.execute(insert.on_conflict_do_update(index_elements=["model", "name"], set_=update), rows)

    async def counters(self, model: str) -> dict[str, int]:
        """Counters by name."""
        async with self.connection() as tx:
            query = select(tables.counters.c.name, tables.counters.c.value).where(tables.counters.c.model == model)
            found = {row.name: row.value for row in await tx.execute(query)}
        pending = _pending.get()
        for (of, name), n in (pending.counts if pending is not None else {}).items():
            if of == model:
                found[name] = found.get(name, 0) + n
        return found

    def note_positions(self, positions: Mapping[str, int]) -> None:
        """Topic partition → last offset taken in; known since the start of the process."""
        self._positions.update(positions)

    def positions(self) -> dict[str, int]:
        """Topic partition → last offset taken in."""
        return dict(self._positions)

    async def firing_alerts(self) -> dict[str, int]:
        """Alert → wall time since when it fires."""
        async with self.connection() as tx:
            a = tables.alerts
            return {row.alert: row.at_us for row in await tx.execute(select(a).where(a.c.firing != 0))}

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
