"""The same promises on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gyrostat_common import database
from gyrostat_common.database import Database
from support.registry import Registry, running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/registry.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The registry's schema in it."""
    async with database.open(database_url, migrations="gyrostat_registry.migrations") as opened:
        yield opened


@pytest.fixture
async def registry(database_url: str, tmp_path: Path) -> AsyncIterator[Registry]:
    """A running registry on it."""
    async with running(tmp_path, database_url=database_url) as one:
        yield one
