"""Remembers which events were taken in, in the transaction of their effect. Dedup key is (source, id); kept 7 days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.bus.event import Received
from gyrostat_common.clock import Clock, SystemClock
from gyrostat_common.tables import inbox
from gyrostat_common.times import to_us

KEPT = timedelta(days=7)
_AT_ONCE = 400  # (source, id) pairs in one statement; SQLite allows 999 variables in old builds
_SYSTEM = SystemClock()


async def first_time(tx: AsyncConnection, received: Received, clock: Clock = _SYSTEM) -> bool:
    """True exactly once per (source, id): the caller then does the effect in the same transaction."""
    return bool(await first_times(tx, [received], clock))


async def first_times(tx: AsyncConnection, batch: Sequence[Received], clock: Clock = _SYSTEM) -> list[Received]:
    """Those of the batch that are new, in their order; a repeat within the batch counts once."""
    new: dict[tuple[str, str], Received] = {}
    for received in batch:
        new.setdefault((received.event.source, received.event.id), received)
    keys = list(new)
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        seen = await tx.execute(select(inbox.c.source, inbox.c.id).where(tuple_(inbox.c.source, inbox.c.id).in_(part)))
        for source, id in seen:
            new.pop((source, id), None)
    if new:
        at = to_us(clock.now())
        await tx.execute(inbox.insert(), [{"source": source, "id": id, "seen_at_us": at} for source, id in new])
    return list(new.values())


async def prune(tx: AsyncConnection, now: datetime) -> None:
    """Forgets what is older than it is kept."""
    await tx.execute(delete(inbox).where(inbox.c.seen_at_us < to_us(now - KEPT)))


__all__ = ["KEPT", "first_time", "first_times", "prune"]
