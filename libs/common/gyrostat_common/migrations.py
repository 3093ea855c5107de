"""Upgrades a database with the Alembic versions inside a package: `<package>/versions/NNNN_title.py` and nothing else:
no ini file, no env.py.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from weakref import WeakKeyDictionary

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, StampStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.tables import create_common_tables

_LOCK = 0x6779726F  # "gyro": one upgrade at a time per database
# Alembic keeps the running upgrade in a global, so one at a time per event loop too.
_upgrading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def upgrade(connection: AsyncConnection, package: str | None, schema: str | None) -> None:
    """To the newest version, in the connection's transaction."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        if schema:
            await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    lock = _upgrading.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        await connection.run_sync(_upgrade, package)


def _upgrade(connection: Connection, package: str | None) -> None:
    if package is None:
        if not inspect(connection).has_table("outbox"):
            create_common_tables(connection)
        return
    config = Config()
    config.set_main_option("script_location", str(files(package)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def to_head(revision: str | tuple[str, ...], _: MigrationContext) -> list[StampStep]:
        return script._upgrade_revs("head", revision)  # type: ignore[return-value, arg-type]

    with EnvironmentContext(config, script, fn=to_head, destination_rev="head") as environment:
        environment.configure(connection=connection, render_as_batch=connection.dialect.name == "sqlite")
        environment.run_migrations()
