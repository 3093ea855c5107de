"""Fills the archive. Its own consumer group: slow storage holds up neither windows nor verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.domain.outcomes import Outcome
from gyrostat_monitor.usecases.ports import ArchiveTables, Joins, Records

OUTCOMES = "outcomes"


class Archiving:
    """Handlers return after the commit; the offset is committed after that."""

    def __init__(self, archive: ArchiveTables, records: Records, joins: Joins) -> None:
        self._archive, self._records, self._joins = archive, records, joins

    async def frames(self, frames: Sequence[Frame]) -> int:
        """Rows archived."""
        by_model: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            if frame.rows:
                by_model[frame.model].append(frame)
        rows = 0
        for model, group in sorted(by_model.items()):
            rows += (await self._archive.add_frames(model, group)).rows
        return rows

    async def outcomes(self, outcomes: Sequence[Outcome]) -> int:
        """Rows archived; then those that found their prediction meanwhile."""
        by_model: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            by_model[outcome.model].append(outcome)
        rows = 0
        for model, group in sorted(by_model.items()):
            rows += (await self._archive.add_outcomes(model, group)).rows
        return rows

    async def resolved(self) -> int:
        """Appends outcomes whose other name has been resolved, after the last one that is in the table."""
        rows = 0
        for model in await self._joins.resolved_models():
            after = await self._archive.last(OUTCOMES, model, "resolved")
            found = await self._joins.resolutions(model, after)
            if found:
                rows += (await self._archive.add_resolved(model, found)).rows
        return rows
