"""A caller that hangs up in the middle of a transaction leaves no lock behind and no half of its work."""

from __future__ import annotations

import asyncio
import random

from sqlalchemy import text

from gyrostat_common.database import Database


async def write(db: Database, rows: int) -> None:
    async with db.transaction() as tx:
        for _ in range(rows):
            await tx.execute(text("INSERT INTO numbers VALUES (1)"))
            (await tx.execute(text("SELECT n FROM numbers LIMIT 3"))).all()


async def test_cut_anywhere_the_next_writer_goes_on(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(text("CREATE TABLE numbers (n INTEGER)"))
    turns = random.Random(1)
    for _ in range(60):
        task = asyncio.ensure_future(write(db, 4))
        for _ in range(turns.randrange(250)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(10):
            await write(db, 1)
    async with db.reading() as connection:
        rows = (await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one()
    assert rows >= 60
    assert (rows - 60) % 4 == 0
