"""Takes a dataset in: a file is checked and becomes the next version of a Delta table, and the news goes out."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from gyrostat_common.clock import Clock
from gyrostat_common.errors import InvalidInput
from gyrostat_trainer.domain.errors import DatasetInvalid
from gyrostat_trainer.domain.instants import microseconds
from gyrostat_trainer.domain.runs import DatasetFacts
from gyrostat_trainer.usecases.ports import DatasetTables, Ledger, News

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Import:
    """What the caller announced before the bytes."""

    request_id: str
    dataset: str
    sha256: str
    append: bool
    actor: str


class Datasets:
    """Use cases of the TrainerService about datasets."""

    def __init__(self, ledger: Ledger, tables: DatasetTables, news: News, clock: Clock) -> None:
        self._ledger, self._tables, self._news, self._clock = ledger, tables, news, clock
        self._one_at_a_time = asyncio.Lock()

    def check(self, wanted: Import) -> None:
        """DatasetInvalid when the name or the digest cannot be right, before a byte is taken."""
        if not _NAME.fullmatch(wanted.dataset):
            raise DatasetInvalid(
                f"{wanted.dataset[:80]!r} is not a name: 1 to 63 of a-z, 0-9, - and _, beginning with a letter"
            )
        if not re.fullmatch(r"[0-9a-fA-F]{64}", wanted.sha256):
            raise DatasetInvalid("sha256 must be the 64 hexadecimal digits of the file's SHA-256")

    async def take_in(self, wanted: Import, path: Path) -> DatasetFacts:
        """The dataset at its new version. A repeat of the request id answers with what it made the first time."""
        self.check(wanted)
        async with self._one_at_a_time:
            if wanted.request_id and (known := await self._ledger.imported(wanted.request_id)):
                sha256, facts = known
                if sha256 != wanted.sha256.lower() or facts.name != wanted.dataset:
                    raise InvalidInput(f"request {wanted.request_id} was another import")
                return facts
            version, rows = await asyncio.to_thread(
                self._tables.write, wanted.dataset, path, wanted.sha256, wanted.append, wanted.request_id
            )
            at = microseconds(self._clock.now())
            facts = DatasetFacts(wanted.dataset, version, rows, self._tables.uri(wanted.dataset), at)
            async with self._ledger.transaction():
                await self._ledger.save_dataset(facts)
                if wanted.request_id:
                    await self._ledger.save_import(wanted.request_id, wanted.sha256.lower(), facts)
                await self._news.dataset_updated(facts, wanted.actor)
        return facts

    async def all(self) -> list[DatasetFacts]:
        """By name."""
        return await self._ledger.datasets()
