"""Runs: recorded, gone on with, looked at."""

from dataclasses import replace

from gyrostat_common.clock import Clock
from gyrostat_common.ids import Ids
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.errors import RunNotFound
from gyrostat_registry.domain.names import checked_run_id
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.run import (
    ASKED_AT,
    CANCEL_REASON,
    CANCELLED_BY,
    REASON,
    TRAINER,
    Imported,
    Run,
    checked,
    merged,
)
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.ports import Store


class Runs:
    """The record of executions that may make versions."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._ids = ids

    async def create(self, caller: Caller, run: Run) -> Run:
        """A new run; without an id it is given one. Its model must exist.

        The trainer's is two lines of the audit log: its own call, and what it was asked for, by whom and why.
        """
        now = self._clock.now()
        run_id = checked_run_id(run.id) if run.id else self._ids.new()
        made = checked(replace(run, id=run_id, created_by=caller.actor, started_at=run.started_at or now))
        async with self._store.transaction() as tx:
            await tx.model(made.model)
            await tx.add_run(made)
            by = replace(caller, correlation_id=made.correlation_id)
            await self._ledger.note(tx, by, "CreateRun", made.id, model=made.model, detail={"status": made.status})
            if caller.actor == TRAINER:
                asked = replace(by, actor=run.created_by or TRAINER)
                detail = {"causes": made.causes, "asked_at": made.tags.get(ASKED_AT, "")}
                why = made.tags.get(REASON, "")
                await self._ledger.note(
                    tx, asked, "StartTraining", made.id, model=made.model, reason=why, detail=detail
                )
        return made

    async def update(self, caller: Caller, change: Run) -> Run:
        """Merges what is set into a run."""
        async with self._store.transaction() as tx:
            run = await tx.run(change.id, lock=True)
            if run is None:
                raise RunNotFound(f"there is no run {change.id!r}")
            after = merged(run, change)
            await tx.save_run(after)
            by = replace(caller, correlation_id=after.correlation_id)
            changed = [name for name in run.__dataclass_fields__ if getattr(run, name) != getattr(after, name)]
            detail = {"changed": changed, "status": after.status}
            await self._ledger.note(tx, by, "UpdateRun", run.id, model=run.model, detail=detail)
            who = after.tags.get(CANCELLED_BY, "")
            if caller.actor == TRAINER and who and not run.tags.get(CANCELLED_BY):
                asked, why = replace(by, actor=who), after.tags.get(CANCEL_REASON, "")
                await self._ledger.note(tx, asked, "CancelTraining", run.id, model=run.model, reason=why, detail=detail)
            return after

    async def imported(self, imported: Imported) -> None:
        """The trainer took a dataset in; the line says who sent it."""
        async with self._store.transaction() as tx:
            detail = {"delta_version": imported.delta_version, "rows": imported.rows}
            by = Caller(imported.actor or TRAINER, causation_id=imported.event_id)
            await self._ledger.note(tx, by, "ImportDataset", imported.dataset, detail=detail)

    async def get(self, run_id: str) -> Run:
        """One run. RunNotFound."""
        async with self._store.reading() as tx:
            run = await tx.run(run_id)
        if run is None:
            raise RunNotFound(f"there is no run {run_id!r}")
        return run

    async def list(self, model: str, page: Page) -> Listed[Run]:
        """Newest first."""
        async with self._store.reading() as tx:
            if model:
                await tx.model(model)
            return await tx.runs(model, page)
