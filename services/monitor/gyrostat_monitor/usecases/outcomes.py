"""Outcomes: accepted from callers into the outbox, and taken in from the topic, which is the join's only input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gyrostat_common.ids import Ids
from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.domain.outcomes import Outcome, Ref
from gyrostat_monitor.usecases.advance import Advance
from gyrostat_monitor.usecases.join import Join
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Announcer, Records, Stores

MOST = 10_000


def check_count(outcomes: int) -> None:
    """Raises OutcomeInvalid for more than a call may carry, or none."""
    if not 1 <= outcomes <= MOST:
        raise OutcomeInvalid(f"{outcomes} outcomes; a call carries 1 to {MOST}")


@dataclass(frozen=True)
class Given:
    """An outcome as a caller gives it."""

    model: str
    ref: Ref
    value: float
    observed_us: int | None
    recorded_us: int | None
    source: str
    weight: float


class RecordOutcomes:
    """RecordOutcomes: durable when the reply comes."""

    def __init__(self, records: Records, announcer: Announcer, known: Known, ids: Ids) -> None:
        self._records, self._announcer, self._known, self._ids = records, announcer, known, ids

    async def __call__(self, given: Sequence[Given]) -> list[str]:
        """Event ids in order. Raises OutcomeInvalid for the whole call: nothing of it is kept then."""
        check_count(len(given))
        now = self._known.now_us()
        accepted = []
        for i, g in enumerate(given):
            try:
                self._known.check(g, now)
            except OutcomeInvalid as error:
                raise OutcomeInvalid(f"outcome {i}: {error}") from None
            assert g.observed_us is not None
            recorded = g.recorded_us if g.recorded_us is not None else now
            accepted.append(
                Outcome(self._ids.new(), g.model, g.ref, g.value, g.observed_us, recorded, now, g.source, g.weight)
            )
        async with self._records.transaction():
            await self._announcer.outcomes(accepted)
        return [o.event_id for o in accepted]


class TakeInOutcomes:
    """The handler of outcome.recorded."""

    def __init__(self, stores: Stores, known: Known, join: Join, advance: Advance) -> None:
        self._records, self._joins, self._known = stores.records, stores.joins, known
        self._join, self._advance = join, advance

    async def __call__(self, batch: Sequence[Outcome], positions: Mapping[str, int], cause: str) -> None:
        """In order. Raises OutcomeInvalid for a record that no prediction could have."""
        now = self._known.now_us()
        by_model: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for outcome in batch:
            self._known.check(outcome, now)
            by_model[outcome.model][outcome.event_source].append(outcome)
        async with self._records.transaction():
            self._records.note_positions(positions)
            for model, by_source in sorted(by_model.items()):
                new = [o for s, found in sorted(by_source.items()) for o in await self._joins.fresh(found, s)]
                received = sum(map(len, by_source.values()))
                counted = {"outcomes_received": received, "outcomes_duplicate": received - len(new)}
                await self._records.count(model, counted)
                if not new:
                    continue
                progress = await self._records.progress(model)
                seen = max([int(progress.get("outcome_us", 0)), *(o.observed_us for o in new)])
                await self._records.save_progress(model, {"outcome_us": str(seen)})
                mark = int(progress["watermark"]) if "watermark" in progress else None
                await self._join.outcomes(model, new, mark)
                await self._advance.model(model, cause)
