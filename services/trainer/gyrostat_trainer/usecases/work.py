"""Works off the queue, one run at a time, step by step; what is in the journal is never done again.

Killed at any point, the next process takes the run up at the first step that is not in the journal. Retried for ever:
a registry or an artifact store that is away. Everything else that goes wrong ends the run with the reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

from gyrostat_common.clock import Clock
from gyrostat_common.errors import GyrostatError, Overloaded, Unavailable
from gyrostat_trainer.domain.episodes import poisoned
from gyrostat_trainer.domain.errors import RunCancelled
from gyrostat_trainer.domain.instants import microseconds
from gyrostat_trainer.domain.runs import (
    CANCELLED,
    FAILED,
    QUEUED,
    REJECTED,
    RUNNING,
    STAGES,
    STEPS,
    SUCCEEDED,
    Progress,
    Run,
)
from gyrostat_trainer.usecases.bell import Bell, Board, fraction_within
from gyrostat_trainer.usecases.decide import QUEUE
from gyrostat_trainer.usecases.ports import Copies, Diary, Ledger, News, Registry, Workshop

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
IDLE_S = 5.0

Journal = dict[str, dict[str, Any]]
Outcome = tuple[dict[str, Any], dict[str, Any]]


class Stops:
    """The flags that cancel runs under way."""

    def __init__(self) -> None:
        self._flags: dict[str, asyncio.Event] = {}

    def of(self, run_id: str) -> asyncio.Event:
        """The run's flag."""
        return self._flags.setdefault(run_id, asyncio.Event())

    def forget(self, run_id: str) -> None:
        """The run is over."""
        self._flags.pop(run_id, None)


class Work:
    """The worker. `forever` is its task; `train` is one run."""

    def __init__(
        self,
        ledger: Ledger,
        workshop: Workshop,
        registry: Registry,
        copies: Copies,
        voice: tuple[News, Diary],
        clock: Clock,
    ) -> None:
        self._ledger, self._workshop, self._registry, self._copies = ledger, workshop, registry, copies
        self._news, self._diary = voice
        self._clock = clock
        self.bell = Bell()
        self.board = Board(self.bell)
        self.stops = Stops()

    async def forever(self) -> None:
        """Runs until cancelled. A run under way is then left as it is, for the next process."""
        while True:
            woken = self.bell.next(QUEUE)
            await self._report_ended()
            run = await self._ledger.next_run()
            if run is not None:
                await self.train(run)
                continue
            try:
                async with asyncio.timeout(IDLE_S):
                    await woken.wait()
            except TimeoutError:
                pass

    async def train(self, run: Run) -> Run:
        """Does what is left to do of a run and returns it as it ended."""
        with self._diary.training(run):
            self._workshop.clean(run)
            stop = self.stops.of(run.id)
            try:
                run = await self._begin(run)
                if run.cancel_reason:
                    stop.set()
                journal = await self._ledger.steps(run.id)
                for step in STEPS:
                    if step not in journal:
                        run, journal[step] = await self._step(run, step, journal, stop)
                registered = journal["register"]
                run = await self._end(run, SUCCEEDED if registered["passed"] else REJECTED, registered["reason"])
            except RunCancelled as exc:
                run = await self._end(run, CANCELLED, str(exc))
            except (GyrostatError, OSError) as exc:
                run = await self._end(run, FAILED, str(exc) or type(exc).__name__)
            except Exception as exc:  # our own fault: the run ends with it, the worker takes the next one
                self._diary.crash("run_crashed", exc, run=run.id, model=run.model)
                run = await self._end(run, FAILED, f"{type(exc).__name__}: {exc}"[:500])
        await self._report_ended()
        return run

    async def _begin(self, run: Run) -> Run:
        async with self._ledger.transaction():
            run = await self._ledger.run(run.id)
            if run.status == QUEUED:
                run = run.changed(status=RUNNING, started_at_us=microseconds(self._clock.now()))
                await self._ledger.save_run(run)
        self._diary.tell("run_begins", run=run.id, model=run.model, causes=run.causes, reason=run.reason)
        return run

    async def _step(self, run: Run, step: str, journal: Journal, stop: asyncio.Event) -> tuple[Run, dict[str, Any]]:
        """Does one step, again and again while somebody is away, and writes it into the journal."""
        pause_s = FIRST_PAUSE_S
        while True:
            if stop.is_set():
                raise RunCancelled("the run was cancelled")
            self._tell(run, step, Progress(0.0, text=step))
            try:
                changes, result = await self._steps[step](self, run, journal, stop)
                break
            except (Unavailable, Overloaded) as exc:
                self._diary.warn("step_waits", run=run.id, step=step, error=str(exc), pause_s=pause_s)
                self._tell(run, step, Progress(0.0, text=f"waiting: {exc}"))
                try:
                    async with asyncio.timeout(pause_s):
                        await stop.wait()
                except TimeoutError:
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        async with self._ledger.transaction():
            run = (await self._ledger.run(run.id)).changed(**changes)
            await self._ledger.save_run(run)
            await self._ledger.save_step(run.id, step, result, microseconds(self._clock.now()))
        self._diary.tell("step_done", run=run.id, model=run.model, step=step)
        self._tell(run, step, Progress(1.0, text=f"{step} done"))
        return run, result

    def _tell(self, run: Run, step: str, inner: Progress) -> None:
        whole = Progress(fraction_within(step, inner.fraction), STAGES[step], inner.eta_s, inner.text)
        self.board.tell(run.id, whole)

    # The steps: (changes to the run, what the journal keeps)

    async def _announce(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        made_with = await self._workshop.provenance(run)
        changes = {
            "code_digest": made_with["code"],
            "environment_digest": made_with["environment"],
            "params": {name: str(value) for name, value in self._workshop.parameters(run).items()},
            "tags": {k: v for k, v in made_with.items() if k not in ("code", "environment")}
            | {"pipeline": run.spec.pipeline, "refit": str(self._workshop.refits(run)).lower()},
        }
        await self._registry.create_run(run.changed(**changes))
        return changes, {}

    async def _snapshot(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        champion = await self._registry.champion(run.model, run.environment)
        quality = await self._ledger.data_quality_episodes(run.model, run.environment)
        snapshot = await self._workshop.snapshot(run, poisoned(quality), champion)
        copy = await self._copies.keep(self._workshop.rows(run))
        if copy is not None:
            sha256, size, uri = copy
            snapshot = replace(snapshot, copy_sha256=sha256, copy_bytes=size, copy_uri=uri)
        kept = {"champion": champion.number, "sha256": champion.artifact_sha256} if champion else {}
        return {"snapshot": snapshot}, kept

    async def _fit(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        cost = await self._workshop.fit(run, "evaluate", stop, lambda p: self._tell(run, "fit", p))
        return {"cost": _added(run.cost, "fit", cost)}, {}

    async def _refit(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        if not self._workshop.refits(run):
            return {}, {"skipped": True}
        cost = await self._workshop.fit(run, "refit", stop, lambda p: self._tell(run, "refit", p))
        return {"cost": _added(run.cost, "refit", cost)}, {}

    async def _evaluate(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        champion = None
        if sha256 := journal["snapshot"].get("sha256"):
            champion = self._workshop.folder(run) / "champion.onnx"
            await self._registry.download(sha256, champion)
        found = await self._workshop.evaluate(run, champion, stop, lambda p: self._tell(run, "evaluate", p))
        measured, metrics, cost = found
        return {"gates": measured, "metrics": metrics, "cost": _added(run.cost, "evaluate", cost)}, {}

    async def _upload(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        model = await self._registry.upload(self._workshop.registered(run), "model.onnx")
        profile = await self._registry.upload(self._workshop.profile(run), "profile.json")
        said = self._workshop.log(run)
        tags = dict(run.tags)
        if said.exists() and said.stat().st_size:
            tags["log_sha256"] = await self._registry.upload(said, "job.log")
        return {"tags": tags}, {"model": model, "profile": profile}

    async def _register(self, run: Run, journal: Journal, stop: asyncio.Event) -> Outcome:
        evaluated = "twin" if self._workshop.refits(run) else "itself"
        made = await self._registry.register(run, journal["upload"]["model"], journal["upload"]["profile"], evaluated)
        judged = made.gates or run.gates
        return {"version": made.number, "gates": judged}, {
            "version": made.number,
            "passed": made.passed,
            "reason": made.reason,
        }

    _steps: ClassVar[dict[str, Any]] = {
        "announce": _announce,
        "snapshot": _snapshot,
        "fit": _fit,
        "refit": _refit,
        "evaluate": _evaluate,
        "upload": _upload,
        "register": _register,
    }

    # The end

    async def _end(self, run: Run, status: str, reason: str) -> Run:
        async with self._ledger.transaction():
            run = await self._ledger.run(run.id)
            if not run.is_open:
                return run
            ended = microseconds(self._clock.now())
            wall = (ended - (run.started_at_us or ended)) / 1e6
            if status == FAILED and run.cancel_reason:
                status = CANCELLED  # whoever cancelled has been told so; what it would have failed of is in the log
            error = {SUCCEEDED: "", CANCELLED: run.cancel_reason or reason}.get(status, reason)
            run = run.changed(status=status, error=error, ended_at_us=ended, cost={**run.cost, "wall_s": wall})
            await self._ledger.save_run(run)
            await self._news.training_finished(run)
        self._diary.tell(
            "run_ended", run=run.id, model=run.model, status=status, version=run.version, reason=reason, cost=run.cost
        )
        await asyncio.to_thread(self._workshop.tidy, run)
        self.board.forget(run.id)
        self.stops.forget(run.id)
        return run

    async def _report_ended(self) -> None:
        """Tells the registry how runs ended; what it could not be told now it is told later."""
        for run in await self._ledger.unreported():
            try:
                await self._registry.update_run(run)
            except (Unavailable, Overloaded) as exc:
                self._diary.tell("report_waits", run=run.id, error=str(exc))
                return
            except GyrostatError as exc:
                self._diary.warn("report_refused", run=run.id, error=str(exc))
            await self._ledger.mark_reported(run.id)


def _added(cost: dict[str, float], step: str, used: Any) -> dict[str, float]:
    """Costs of the steps and their sum; peak memory is the largest."""
    return {
        **cost,
        f"{step}.wall_s": used.wall_s,
        f"{step}.cpu_s": used.cpu_s,
        "cpu_s": round(cost.get("cpu_s", 0.0) + used.cpu_s, 3),
        "peak_bytes": max(cost.get("peak_bytes", 0.0), used.peak_bytes),
    }
