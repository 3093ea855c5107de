"""Transactions that end badly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.database import Database


class Failure(Exception):
    """What ends a transaction badly."""


@asynccontextmanager
async def failing(db: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that fails after the block."""
    with suppress(Failure):
        async with db.transaction() as tx:
            yield tx
            raise Failure
