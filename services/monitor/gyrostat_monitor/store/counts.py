"""Ticks, realised quality, windows, paired evidence and traffic: additive state, read and written by key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, false, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common import database
from gyrostat_common.database import Database
from gyrostat_monitor.domain.judge import Pairs, Traffic
from gyrostat_monitor.domain.quality import QualitySums
from gyrostat_monitor.domain.ticks import Tick, decode, encode
from gyrostat_monitor.domain.windows import Span, Window
from gyrostat_monitor.store import bodies, tables

AT_ONCE = 200
TickKey = tuple[str, int, int]
"""model, version, tick start (µs)."""
QualityKey = tuple[str, int, str, int]
"""model, version, role, tick start (µs)."""


class Counts:
    """One per database. Writing methods are for the inside of a transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Ticks

    async def add_ticks(self, added: Mapping[TickKey, tuple[str, Tick]]) -> None:
        """Adds counts; the text is the layout's key. Counts of another layout are replaced."""
        async with self._db.reading() as tx:
            known = {}
            t = tables.ticks
            for part in _parts(sorted(added)):
                query = select(t).where(tuple_(t.c.model, t.c.version, t.c.tick_us).in_(part))
                for row in await tx.execute(query):
                    known[row.model, row.version, row.tick_us] = (row.layout, _tick(row))
            rows = []
            for key, (layout, tick) in sorted(added.items()):
                before = known.get(key)
                total = before[1].plus(tick) if before and before[0] == layout else tick
                rows.append(
                    {
                        "model": key[0], "version": key[1], "tick_us": key[2], "rows": total.rows, "layout": layout,
                        "counts": encode(total.vector), "exemplars": json.dumps(total.exemplars),
                    }
                )  # fmt: skip
            await _put(tx, t, ["model", "version", "tick_us"], rows)

    async def ticks(self, model: str, version: int, span: Span, layout: str) -> dict[int, Tick]:
        """Tick start → counts in the span."""
        async with self._db.reading() as tx:
            t = tables.ticks
            query = select(t).where(
                t.c.model == model, t.c.version == version, t.c.tick_us >= span.start_us, t.c.tick_us < span.end_us,
                t.c.layout == layout,
            )  # fmt: skip
            return {row.tick_us: _tick(row) for row in await tx.execute(query)}

    async def tick_rows(self, model: str, version: int, from_us: int) -> dict[int, int]:
        """Tick start → rows."""
        async with self._db.reading() as tx:
            t = tables.ticks
            query = select(t.c.tick_us, t.c.rows).where(
                t.c.model == model, t.c.version == version, t.c.tick_us >= from_us
            )
            return {row.tick_us: row.rows for row in await tx.execute(query)}

    async def drop_ticks(self, model: str, before_us: int) -> None:
        """Forgets what no window needs any more."""
        async with self._db.reading() as tx:
            await tx.execute(
                delete(tables.ticks).where(tables.ticks.c.model == model, tables.ticks.c.tick_us < before_us)
            )

    # Quality

    async def add_quality(self, added: Mapping[QualityKey, Sequence[tuple[QualitySums, int]]]) -> None:
        """Adds sums with their signs (-1 takes away)."""
        async with self._db.reading() as tx:
            q, known = tables.quality, {}
            for part in _parts(sorted(added)):
                query = select(q).where(tuple_(q.c.model, q.c.version, q.c.role, q.c.tick_us).in_(part))
                for row in await tx.execute(query):
                    known[row.model, row.version, row.role, row.tick_us] = QualitySums.from_json(row.sums)
            rows = []
            for key, changes in sorted(added.items(), key=lambda item: item[0]):
                sums = known.get(key, QualitySums())
                for change, sign in changes:
                    sums = sums.plus(change, sign)
                rows.append(
                    {"model": key[0], "version": key[1], "role": key[2], "tick_us": key[3], "sums": sums.to_json()}
                )
            await _put(tx, q, ["model", "version", "role", "tick_us"], rows)

    async def quality(self, model: str, span: Span | None, version: int = 0) -> list[tuple[QualityKey, QualitySums]]:
        """All sums of a model in a span (None: ever), of one version or all."""
        async with self._db.reading() as tx:
            q = tables.quality
            query = select(q).where(q.c.model == model)
            if span is not None:
                query = query.where(q.c.tick_us >= span.start_us, q.c.tick_us < span.end_us)
            if version:
                query = query.where(q.c.version == version)
            return [
                ((r.model, r.version, r.role, r.tick_us), QualitySums.from_json(r.sums))
                for r in await tx.execute(query)
            ]

    # Windows

    async def save_window(self, window: Window) -> None:
        """Puts a report; it is then up to date."""
        row = {
            "model": window.model, "version": window.version, "start_us": window.span.start_us,
            "end_us": window.span.end_us, "rows": window.rows, "revision": window.revision, "stale": 0,
            "judged": int(window.judged), "report": bodies.dumps(window.report),
        }  # fmt: skip
        async with self._db.reading() as tx:
            await _put(tx, tables.windows, ["model", "version", "start_us"], [row])

    async def mark_stale(self, model: str, version: int, ticks: Iterable[int]) -> int:
        """Late rows: the closed windows of these ticks are to be reported again. Returns how many."""
        touched = 0
        async with self._db.reading() as tx:
            w = tables.windows
            for tick in ticks:
                where = (w.c.model == model) & (w.c.version == version) & (w.c.start_us <= tick) & (w.c.end_us > tick)
                touched += (await tx.execute(w.update().where(where).values(stale=1))).rowcount
        return touched

    async def stale_windows(self, model: str) -> list[Window]:
        """Windows to be reported again."""
        w = tables.windows
        return await self._windows(select(w).where(w.c.model == model, w.c.stale == 1).order_by(w.c.start_us))

    async def unjudged_windows(self, model: str, ended_by_us: int) -> list[Window]:
        """Windows whose outcomes are due, oldest first."""
        w = tables.windows
        query = select(w).where(w.c.model == model, w.c.judged == 0, w.c.end_us <= ended_by_us)
        return await self._windows(query.order_by(w.c.version, w.c.start_us))

    async def windows(
        self, model: str, version: int, span: Span, limit: int, after: tuple[int, int] | None
    ) -> list[Window]:
        """Windows that start in the span, by (start, version), after that place."""
        w = tables.windows
        query = select(w).where(w.c.model == model, w.c.start_us >= span.start_us, w.c.start_us < span.end_us)
        if version:
            query = query.where(w.c.version == version)
        if after:
            query = query.where(tuple_(w.c.start_us, w.c.version) > after)
        return await self._windows(query.order_by(w.c.start_us, w.c.version).limit(limit))

    async def _windows(self, query: Any) -> list[Window]:
        async with self._db.reading() as tx:
            return [
                Window(
                    r.model, r.version, Span(r.start_us, r.end_us), r.rows, r.revision, bool(r.judged),
                    json.loads(r.report),
                )
                for r in await tx.execute(query)
            ]  # fmt: skip

    # Roll-outs

    async def add_pairs(self, model: str, rollout: str, added: Mapping[int, Pairs]) -> None:
        """Tick start → change of the histogram."""
        async with self._db.reading() as tx:
            known = await self.pairs(model, rollout, sorted(added))
            rows = [
                {
                    "model": model, "rollout": rollout, "tick_us": tick,
                    "bins": json.dumps({str(k): v for k, v in known.get(tick, Pairs()).plus(change).bins.items()}),
                }
                for tick, change in sorted(added.items())
            ]  # fmt: skip
            await _put(tx, tables.pairs, ["model", "rollout", "tick_us"], rows)

    async def pairs(self, model: str, rollout: str, ticks: Sequence[int] | None = None) -> dict[int, Pairs]:
        """Tick start → histogram; of all ticks, or of these."""
        async with self._db.reading() as tx:
            p = tables.pairs
            query = select(p.c.tick_us, p.c.bins).where(p.c.model == model, p.c.rollout == rollout)
            if ticks is not None:
                query = (
                    query.where(p.c.tick_us >= ticks[0], p.c.tick_us <= ticks[-1]) if ticks else query.where(false())
                )
            return {
                r.tick_us: Pairs({int(k): v for k, v in json.loads(r.bins).items()}) for r in await tx.execute(query)
            }

    async def drop_pairs(self, model: str, rollout: str) -> None:
        """Forgets the histogram, to make it anew."""
        async with self._db.reading() as tx:
            p = tables.pairs
            await tx.execute(delete(p).where(p.c.model == model, p.c.rollout == rollout))

    async def save_traffic(self, model: str, rollout: str, traffic: Mapping[tuple[int, int], Traffic]) -> None:
        """(plan revision, version) → traffic."""
        rows = [
            {"model": model, "rollout": rollout, "revision": r, "version": v, "body": bodies.traffic_text(t)}
            for (r, v), t in sorted(traffic.items())
        ]
        async with self._db.reading() as tx:
            await _put(tx, tables.traffic, ["model", "rollout", "revision", "version"], rows)

    async def traffic(self, model: str, rollout: str) -> dict[tuple[int, int], Traffic]:
        """(plan revision, version) → traffic."""
        async with self._db.reading() as tx:
            t = tables.traffic
            query = select(t).where(t.c.model == model, t.c.rollout == rollout)
            return {(r.revision, r.version): bodies.traffic(r.body) for r in await tx.execute(query)}


def _tick(row: Any) -> Tick:
    return Tick(decode(row.counts), tuple((int(k), str(r)) for k, r in json.loads(row.exemplars)))


def _parts(keys: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (keys[i : i + AT_ONCE] for i in range(0, len(keys), AT_ONCE))


async def _put(tx: AsyncConnection, table: Any, key: list[str], rows: list[dict[str, Any]]) -> None:
    """Insert or replace."""
    if not rows:
        return
    insert = database.insert(tx, table)
    update = {name: insert.excluded[name] for name in rows[0] if name not in key}
    await tx.execute(insert.on_conflict_do_update(index_elements=key, set_=update), rows)
