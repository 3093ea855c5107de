"""Runs asked for and asked about by people: start, cancel, get, list, watch, decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gyrostat_common.clock import Clock
from gyrostat_common.errors import InvalidInput
from gyrostat_common.ids import Ids
from gyrostat_trainer.domain.errors import Closing, RunOver
from gyrostat_trainer.domain.instants import microseconds
from gyrostat_trainer.domain.policy import TRAIN
from gyrostat_trainer.domain.runs import CANCELLED, QUEUED, Decision, Progress, Run
from gyrostat_trainer.domain.spec import merged_parameters
from gyrostat_trainer.usecases.decide import QUEUE
from gyrostat_trainer.usecases.ports import Ledger, News, Registry, Workshop
from gyrostat_trainer.usecases.work import Work

LARGEST_PAGE = 1_000
USUAL_PAGE = 100


@dataclass(frozen=True)
class Wish:
    """A training asked for by hand."""

    request_id: str
    model: str
    reason: str
    parameters_json: str
    until_us: int | None
    hold: bool
    actor: str
    environment: str
    traceparent: str = ""


class Start:
    """Starts trainings by hand; policy, cool-down and budget are for causes, a person is taken at their word."""

    def __init__(
        self, ledger: Ledger, registry: Registry, workshop: Workshop, work: Work, clock: Clock, ids: Ids
    ) -> None:
        self._ledger, self._registry, self._workshop = ledger, registry, workshop
        self._work, self._clock, self._ids = work, clock, ids

    async def start(self, wish: Wish) -> Run:
        """Exactly one run per request id.

        ModelUnknown, PipelineUnknown, ParametersInvalid before anything is stored.
        """
        if not wish.model:
            raise InvalidInput("model is empty; name the model to train")
        cause = f"request:{wish.request_id or self._ids.new()}"
        known = await self._ledger.run_of_cause(cause)
        if known is not None:
            return known
        merged_parameters(wish.parameters_json)
        spec = await self._registry.spec(wish.model)
        self._workshop.check(spec.pipeline)
        watermark = await self._watermark_us(wish, spec.lateness_s)
        until = wish.until_us
        if until is None and watermark is not None:
            until = watermark - spec.lag_s * 1_000_000
        run = Run(
            id=self._ids.new(),
            model=wish.model,
            environment=wish.environment,
            cause=cause,
            causes=(cause,),
            correlation_id=cause,
            spec=spec,
            created_by=wish.actor,
            created_at_us=microseconds(self._clock.now()),
            traceparent=wish.traceparent,
            reason=wish.reason or "asked for by hand",
            parameters_json=wish.parameters_json,
            watermark_us=wish.until_us if wish.until_us is not None else watermark,
            until_us=until,
            hold=wish.hold,
        )
        async with self._ledger.transaction():
            await self._ledger.add_run(run)
            await self._ledger.add_decision(_asked_for(run))
            self._ledger.after_commit(lambda: self._work.bell.ring(QUEUE))
        return run

    async def _watermark_us(self, wish: Wish, lateness_s: int) -> int | None:
        """The newest event time known: what the monitor last said, or how far the archive has come since."""
        said = await self._ledger.watermark_us(wish.model, wish.environment)
        newest = await self._workshop.newest_us(wish.model)
        known = [said] if said is not None else []
        return max([*known, newest - lateness_s * 1_000_000] if newest is not None else known, default=None)


def _asked_for(run: Run) -> Decision:
    reason = f"{run.created_by}: {run.reason}"
    at = run.created_at_us
    return Decision(run.cause, run.model, run.environment, TRAIN, reason, run.watermark_us, at, run.id)


class Runs:
    """What can be asked about runs, and their cancellation."""

    def __init__(self, ledger: Ledger, news: News, work: Work, clock: Clock) -> None:
        self._ledger, self._news, self._work, self._clock = ledger, news, work, clock

    async def cancel(self, run_id: str, reason: str, actor: str) -> Run:
        """A queued run is over at once; a running one is told, its job killed. RunOver when it has ended."""
        async with self._ledger.transaction():
            run = await self._ledger.run(run_id)
            if run.status == CANCELLED:
                return run
            if not run.is_open:
                raise RunOver(f"run {run_id} has {run.status} already")
            said = f"cancelled by {actor}" + (f": {reason}" if reason else "")
            run = run.changed(cancel_reason=said, cancelled_by=actor)
            if run.status == QUEUED:
                run = run.changed(
                    status=CANCELLED, ended_at_us=microseconds(self._clock.now()), error=run.cancel_reason
                )
                await self._news.training_finished(run)
            await self._ledger.save_run(run)
            self._ledger.after_commit(lambda: self._tell(run))
        return run

    def _tell(self, run: Run) -> None:
        if run.is_open:
            self._work.stops.of(run.id).set()
        self._work.bell.ring(run.id)
        self._work.bell.ring(QUEUE)

    async def get(self, run_id: str) -> tuple[Run, Progress]:
        """RunUnknown when there is none."""
        run = await self._ledger.run(run_id)
        return run, self._work.board.of(run)

    async def page(self, model: str, size: int, token: str) -> tuple[list[tuple[Run, Progress]], str]:
        """Newest first, and the token of the next page."""
        limit = _page_size(size)
        runs = await self._ledger.runs(model, limit + 1, token)
        shown = [(run, self._work.board.of(run)) for run in runs[:limit]]
        return shown, runs[limit - 1].id if len(runs) > limit else ""

    async def watch(self, run_id: str) -> AsyncIterator[tuple[Run, Progress]]:
        """The run now and at every change, until it has ended. Closing when the process ends before."""
        last: tuple[Run, Progress] | None = None
        while True:
            changed = self._work.bell.next(run_id)
            now = await self.get(run_id)
            if now != last:
                yield now
            last = now
            if not now[0].is_open:
                return
            if self._work.bell.closing:
                raise Closing("the trainer is closing; watch again when it is back, the run goes on")
            await changed.wait()

    async def decisions(self, model: str, size: int, token: str) -> tuple[list[Decision], str]:
        """Newest first, and the token of the next page."""
        limit = _page_size(size)
        if token and not token.isdigit():
            raise InvalidInput(f"page token {token!r} is not one of ours")
        found = await self._ledger.decisions(model, limit + 1, int(token or 0))
        return found[:limit], str(found[limit - 1].number) if len(found) > limit else ""


def _page_size(size: int) -> int:
    if size < 0 or size > LARGEST_PAGE:
        raise InvalidInput(f"page_size is {size}; 1 to {LARGEST_PAGE} is allowed")
    return size or USUAL_PAGE
