"""What the registry remembers, on SQLite or PostgreSQL. `Store` gives transactions; a transaction gives `Records`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gyrostat_common.database import Database
from gyrostat_registry.store.catalogue import Catalogue
from gyrostat_registry.store.history import History
from gyrostat_registry.store.live import Live


class Records(Catalogue, Live, History):
    """Everything remembered, through one transaction."""


class Store:
    """Transactions over the registry's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Records]:
        """All or nothing; inside another transaction of the same task it joins that one."""
        async with self._database.transaction() as tx:
            yield Records(tx)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Records]:
        """One consistent view."""
        async with self._database.reading() as connection:
            yield Records(connection)


__all__ = ["Records", "Store"]
