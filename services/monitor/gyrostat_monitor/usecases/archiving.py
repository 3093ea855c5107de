"""Fills the archive. Its own consumer group: slow storage holds up neither windows nor verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.domain.outcomes import Outcome
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import ArchiveTables, Joins

OUTCOMES = "outcomes"


class Archiving:
    """Handlers return after the commit; the offset is committed after that."""

    def __init__(self, archive: ArchiveTables, joins: Joins, known: Known) -> None:
        self._archive, self._joins, self._known = archive, joins, known

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
        """Rows archived. What the join refuses is left out: there it becomes a dead letter, once."""
        now = self._known.now_us()
        by_model: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            try:
                self._known.check(outcome, now)
            except OutcomeInvalid:
                continue
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
