"""What a database promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from gyrostat_common import database, marks
from gyrostat_common.database import Database
from gyrostat_common.errors import Unavailable
from gyrostat_common.tables import marks as marks_table
from support.transactions import failing

MIGRATION = """
import sqlalchemy as sa
from alembic import op
from gyrostat_common.database import create_common_tables

revision, down_revision = "0001", None


def upgrade():
    create_common_tables(op.get_bind())
    op.create_table("things", sa.Column("name", sa.Text, primary_key=True), sa.Column("number", sa.BigInteger))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade():
    with op.batch_alter_table("things") as table:
        table.add_column(sa.Column("colour", sa.Text))
"""
THINGS = Table("things", MetaData(), Column("name", Text), Column("number", BigInteger), Column("colour", Text))
NUMBERS = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))


async def mark(db: Database, stream: str, number: int = 1) -> None:
    async with db.transaction() as tx:
        await marks.advance(tx, "test", {stream: number})


async def known(db: Database) -> set[str]:
    async with db.reading() as tx:
        return set(await marks.high_waters(tx, "test"))


async def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    await mark(db, "kept")
    async with failing(db) as tx:
        await marks.advance(tx, "test", {"lost": 1})
    assert await known(db) == {"kept"}


async def test_a_transaction_inside_a_transaction_joins_it(db: Database) -> None:
    async with failing(db):
        await mark(db, "inner")
        assert await known(db) == {"inner"}  # reading inside sees it
    assert await known(db) == set()


async def test_a_failed_inner_transaction_takes_only_its_own_with_it(db: Database) -> None:
    done = []
    async with db.transaction() as tx:
        await marks.advance(tx, "test", {"outer": 1})
        db.after_commit(lambda: done.append("outer"))
        async with failing(db) as inner:
            await marks.advance(inner, "test", {"inner": 1})
            db.after_commit(lambda: done.append("inner"))
    assert await known(db) == {"outer"}
    assert done == ["outer"]


async def test_another_task_has_its_own_transaction(db: Database) -> None:
    async with asyncio.timeout(20):
        async with db.transaction() as tx:
            await marks.advance(tx, "test", {"mine": 1})
            seen = await asyncio.create_task(known(db))
            other = asyncio.create_task(mark(db, "other"))
        await other
    assert seen == set()
    assert await known(db) == {"mine", "other"}


async def test_after_commit_runs_after_the_commit_and_never_after_a_rollback(db: Database) -> None:
    done = []
    async with db.transaction():
        db.after_commit(lambda: done.append("committed"))
        assert done == []
    async with failing(db):
        db.after_commit(lambda: done.append("rolled back"))
    assert done == ["committed"]
    with pytest.raises(RuntimeError, match="transaction"):
        db.after_commit(lambda: None)


async def test_many_writers_at_once_all_get_through(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.run_sync(NUMBERS.create)

    async def take_next() -> None:
        async with db.transaction() as tx:
            await database.exclusive(tx, "numbers")
            last = (await tx.execute(select(func.coalesce(func.max(NUMBERS.c.number), 0)))).scalar_one()
            await tx.execute(NUMBERS.insert().values(number=last + 1))

    async with asyncio.timeout(60):
        await asyncio.gather(*(take_next() for _ in range(50)))
    async with db.reading() as tx:
        numbers = (await tx.execute(select(NUMBERS.c.number).order_by(NUMBERS.c.number))).scalars().all()
    assert numbers == list(range(1, 51))


async def test_two_processes_can_write_to_one_database(url: str) -> None:
    async with database.open(url) as one, database.open(url) as other, asyncio.timeout(60):
        await asyncio.gather(*(mark(db, f"{n}") for n in range(20) for db in (one, other)))
        assert await known(one) == await known(other) == {str(n) for n in range(20)}


async def test_marks_only_rise(db: Database) -> None:
    async with db.transaction() as tx:
        assert await marks.high_water(tx, "test", "a") == 0
        await marks.advance(tx, "test", {"a": 5, "b": 2})
        await marks.advance(tx, "test", {"a": 3, "b": 4})
        assert await marks.high_waters(tx, "test", ["a", "b", "c"]) == {"a": 5, "b": 4, "c": 0}
        assert await marks.high_waters(tx, "another") == {}


async def test_conflicts_can_be_ignored_or_resolved(db: Database) -> None:
    row = {"sink": "s", "stream": "a", "frame_no": 1}
    async with db.transaction() as tx:
        insert = database.insert(tx, marks_table).values(**row)
        assert (await tx.execute(insert)).rowcount == 1
        assert (await tx.execute(insert.on_conflict_do_nothing())).rowcount == 0


def a_package(folder: Path, name: str, *versions: str) -> str:
    (folder / name / "versions").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    for number, version in enumerate(versions, 1):
        (folder / name / "versions" / f"{number:04}_step.py").write_text(version)
    return name


async def test_opening_upgrades_to_the_newest_version(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    old = a_package(tmp_path, "old_migrations", MIGRATION)
    new = a_package(tmp_path, "new_migrations", MIGRATION, SECOND)
    async with database.open(url, migrations=old) as db, db.transaction() as tx:
        await tx.execute(THINGS.insert().values(name="a"))
    # Several at once, as replicas of a service start.
    async with (
        asyncio.timeout(30),
        database.open(url, migrations=new) as db,
        database.open(url, migrations=new),
        db.transaction() as tx,
    ):
        await tx.execute(THINGS.update().values(colour="red"))
        assert (await tx.execute(select(THINGS))).all() == [("a", None, "red")]
    sys.modules.pop(old), sys.modules.pop(new)


async def test_a_schema_is_made_when_it_is_missing(postgres: str) -> None:
    async with database.open(postgres, schema="gyrostat_registry") as db:
        await mark(db, "a")
        async with db.reading() as tx:
            tables = await tx.run_sync(lambda sync: inspect(sync).get_table_names(schema="gyrostat_registry"))
        assert "marks" in tables
    async with database.open(postgres, schema="gyrostat_monitor") as db:
        assert await known(db) == set()


async def test_a_wrong_statement_is_a_bug_and_not_an_outage(db: Database) -> None:
    with pytest.raises(DBAPIError):
        async with db.reading() as tx:
            await tx.execute(text("SELECT * FROM nowhere"))


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unavailable, match="unable to open"):
        async with database.open(f"sqlite+aiosqlite:///{tmp_path}/folder"):
            pass


async def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="database"):
        async with database.open("postgresql+asyncpg://nobody@127.0.0.1:9/none"):
            pass
