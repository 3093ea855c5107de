"""Stored replies: a mutating call that is repeated with the same request_id has one effect and one answer.

The id is claimed, the effect made and the reply stored in one transaction; kept 7 days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from google.protobuf import symbol_database
from google.protobuf.message import Message
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.clock import Clock, SystemClock
from gyrostat_common.database import Database, insert
from gyrostat_common.errors import InvalidInput
from gyrostat_common.tables import replies
from gyrostat_common.times import to_us

KEPT = timedelta(days=7)
LONGEST_ID = 200
_SYSTEM = SystemClock()
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class RequestIdReused(InvalidInput):
    """The same request_id came with another request."""


def once(database_of: Callable[[Any], Database], clock: Clock = _SYSTEM) -> Callable[[F], F]:
    """For a servicer's mutating method: `@once(lambda self: self._db)`.

    Runs the method inside a transaction, which the use case's own joins. A repeat of `request_id` gets the stored reply
    and the method is not called; the same id with another request raises RequestIdReused. Without an id: just the
    transaction. An error rolls everything back and stores nothing, so a repeat tries again.
    """

    def decorate(method: F) -> F:
        name = method.__qualname__

        @wraps(method)
        async def answer(self: Any, request: Message, context: Any) -> Any:
            async with database_of(self).transaction() as tx:
                request_id = str(getattr(request, "request_id", ""))
                if not request_id:
                    return await method(self, request, context)
                if len(request_id) > LONGEST_ID:
                    raise InvalidInput(f"request_id has {len(request_id)} characters, at most {LONGEST_ID} are allowed")
                stored = await _claimed(tx, name, request_id, request, clock)
                if stored is not None:
                    return stored
                reply = await method(self, request, context)
                await _store(tx, name, request_id, reply)
                return reply

        return cast(F, answer)

    return decorate


async def _claimed(tx: AsyncConnection, method: str, request_id: str, request: Message, clock: Clock) -> Message | None:
    """None: the id is ours now. Else the stored reply. On PostgreSQL this waits for a twin that is still running."""
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    claim = insert(tx, replies).values(
        method=method, request_id=request_id, request_sha256=digest, stored_at_us=to_us(clock.now())
    )
    if (await tx.execute(claim.on_conflict_do_nothing())).rowcount == 1:
        return None
    row = (
        await tx.execute(select(replies).where(replies.c.method == method, replies.c.request_id == request_id))
    ).one()
    if row.request_sha256 != digest:
        name = method.rpartition(".")[2]
        raise RequestIdReused(f"request_id {request_id} was used for another {name}; make a new id")
    kind = symbol_database.Default().GetSymbol(row.reply_type)
    return kind.FromString(row.reply)


async def _store(tx: AsyncConnection, method: str, request_id: str, reply: Message) -> None:
    await tx.execute(
        update(replies)
        .where(replies.c.method == method, replies.c.request_id == request_id)
        .values(reply_type=reply.DESCRIPTOR.full_name, reply=reply.SerializeToString())
    )


async def prune(tx: AsyncConnection, now: datetime) -> None:
    """Forgets what is older than it is kept."""
    await tx.execute(delete(replies).where(replies.c.stored_at_us < to_us(now - KEPT)))
