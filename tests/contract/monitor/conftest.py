"""The suite's databases: SQLite in a file, PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gyrostat_monitor.app import Core
from support.monitor import a_core


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/monitor.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
async def core(url: str, tmp_path: Path) -> AsyncIterator[Core]:
    """A monitor's use cases on it."""
    async with a_core(url, tmp_path) as opened:
        yield opened
