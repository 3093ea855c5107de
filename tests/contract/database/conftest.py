"""The suite's database: SQLite in a file, PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gyrostat_common import database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
async def db(url: str) -> AsyncIterator[database.Database]:
    """With the common tables."""
    async with database.open(url) as opened:
        yield opened
