"""One running system for all journeys of the session, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gyrostat_client import AsyncClient
from gyrostat_local import LocalSystem
from support.journeys import client_of
from support.system import a_system

# A pipeline for runs that shall be open until somebody ends them.
ENDLESS = {"GYROSTAT_TRAINER__PIPELINES": '{"endless": {"command": ["sleep", "infinity"]}}'}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system() -> AsyncIterator[LocalSystem]:
    async with a_system(ENDLESS) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(system: LocalSystem) -> AsyncIterator[AsyncClient]:
    async with client_of(system) as opened:
        yield opened
