"""A service's own database: SQLite by default, PostgreSQL by setting, the same SQLAlchemy Core statements on both.

`open` upgrades the schema and yields a Database. `transaction()` writes, `reading()` reads. A transaction inside a
transaction of the same task joins it, so that a use case can be run inside a stored reply or a handler's inbox check.
On SQLite the writers of a process queue on a lock and begin with BEGIN IMMEDIATE: nobody meets "database is locked".
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gyrostat_common.errors import Unavailable
from gyrostat_common.migrations import upgrade
from gyrostat_common.tables import common_tables, create_common_tables

__all__ = ["Database", "common_tables", "create_common_tables", "current", "exclusive", "insert", "open"]

_BUSY_MS = 30_000


@dataclass
class _Ambient:
    """The transaction that a task is in."""

    database: Database
    task: asyncio.Task[Any] | None
    connection: AsyncConnection
    after_commit: list[Callable[[], object]] = field(default_factory=list)


_ambient: ContextVar[_Ambient | None] = ContextVar("gyrostat_transaction", default=None)


def current() -> Database | None:
    """The database whose transaction the task is in."""
    ambient = _ambient.get()
    return ambient.database if ambient and ambient.task is asyncio.current_task() else None


class Database:
    """Transactions on one engine. Get one from `open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.when_outbox_grew: list[Callable[[], object]] = []
        """Called after the commit of every transaction that put something into the outbox."""
        self._writing = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        return self._writing is not None

    def _joined(self) -> _Ambient | None:
        ambient = _ambient.get()
        if ambient and ambient.database is self and ambient.task is asyncio.current_task():
            return ambient
        return None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits when the block ends, rolls back when it raises.

        Inside another transaction of the same task it is a savepoint of that one: what it did goes when the block
        raises, and is committed with the outer one. Do not await another task that writes from within the block.
        """
        outer = self._joined()
        if outer is not None:
            kept = len(outer.after_commit)
            try:
                async with outer.connection.begin_nested():
                    yield outer.connection
            except BaseException:
                del outer.after_commit[kept:]
                raise
            return
        if self._writing is None:
            async with self._outermost() as connection:
                yield connection
        else:
            async with self._writing, self._outermost() as connection:
                yield connection

    @asynccontextmanager
    async def _outermost(self) -> AsyncIterator[AsyncConnection]:
        async with _driver_errors(), self._engine.connect() as connection:
            connection = await connection.execution_options(gyrostat_writes=True)
            async with connection.begin():
                ambient = _Ambient(self, asyncio.current_task(), connection)
                token = _ambient.set(ambient)
                try:
                    yield connection
                finally:
                    _ambient.reset(token)
        for callback in ambient.after_commit:
            callback()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view; inside a transaction of the same task, that transaction's own."""
        outer = self._joined()
        if outer is not None:
            yield outer.connection
            return
        async with _driver_errors(), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls `callback` when the current transaction has been committed, and never when it is rolled back."""
        ambient = self._joined()
        if ambient is None:
            raise RuntimeError("after_commit is for the inside of a transaction")
        ambient.after_commit.append(callback)

    def outbox_grew(self) -> None:
        """Wakes the relays."""
        for wake in self.when_outbox_grew:
            wake()


@asynccontextmanager
async def _driver_errors() -> AsyncIterator[None]:
    """A database that went away is Unavailable; a broken constraint stays what it is."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the database does not answer: {_first_line(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated or (isinstance(error, OperationalError) and _is_away(error)):
            raise Unavailable(f"the database does not answer: {_first_line(error)}") from error
        raise


def _is_away(error: OperationalError) -> bool:
    """SQLite also says OperationalError of a statement that is wrong, and no repeat would mend that."""
    if type(error.orig).__module__.startswith("sqlite3"):
        return any(sign in str(error.orig) for sign in ("locked", "unable to open", "disk", "readonly"))
    return True


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


@asynccontextmanager
async def open(url: str, migrations: str | None = None, schema: str | None = None) -> AsyncIterator[Database]:
    """Opens and upgrades. `migrations` is a package such as "gyrostat_registry.migrations"; None: only the common
    tables (for tests). `schema` is for PostgreSQL and is created when missing. Raises Unavailable when it cannot.
    """
    engine = _engine(make_url(url), schema)
    try:
        async with _driver_errors(), engine.connect() as connection:
            connection = await connection.execution_options(gyrostat_writes=True)
            async with connection.begin():
                await upgrade(connection, migrations, schema)
        yield Database(engine)
    finally:
        await engine.dispose()


def _engine(url: URL, schema: str | None) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        options: dict[str, Any] = {"timeout": 10, "command_timeout": 60}
        if schema:
            options["server_settings"] = {"search_path": schema}
        return create_async_engine(url, connect_args=options, pool_size=5, max_overflow=5, pool_pre_ping=True)
    if url.database:
        _check_file(Path(url.database))
    engine = create_async_engine(url, connect_args={"timeout": _BUSY_MS / 1000})
    event.listen(engine.sync_engine, "connect", _sqlite_connected)
    event.listen(engine.sync_engine, "invalidate", _sqlite_given_up)
    event.listen(engine.sync_engine, "begin", _sqlite_begun)
    return engine


def _check_file(path: Path) -> None:
    """Opens it once before the pool does: a thread of the pool that cannot would end in a traceback."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(path).close()
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"the database {path} cannot be opened: {error}") from error


def _sqlite_connected(driver_connection: Any, _: Any) -> None:
    driver_connection.isolation_level = None  # we say BEGIN ourselves
    cursor = driver_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_given_up(driver_connection: Any, _: Any, __: BaseException | None) -> None:
    """A task was cancelled inside a statement (a caller hung up), and the connection is thrown away.

    SQLite keeps a closed connection alive while a statement of it is unfinished, and with it the write lock: so first
    roll back, in the connection's own thread, after what is queued there.
    """
    worker = driver_connection.driver_connection
    worker._tx.put_nowait((None, worker._conn.rollback))


def _sqlite_begun(connection: Any) -> None:
    writes = connection.get_execution_options().get("gyrostat_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def exclusive(tx: AsyncConnection, name: str) -> None:
    """Until the transaction ends, no other transaction gets past `exclusive` with the same name. On SQLite writers are
    alone anyway.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def insert(tx: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows on_conflict_do_nothing and on_conflict_do_update, which both engines have."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)
