"""Decides about causes: hears episodes, applies the policy, queues runs, and looks again when the watermark moves."""

from __future__ import annotations

from dataclasses import replace

from gyrostat_common.clock import Clock
from gyrostat_common.ids import Ids
from gyrostat_trainer.domain.episodes import Episode
from gyrostat_trainer.domain.instants import microseconds
from gyrostat_trainer.domain.policy import ATTACH, TRAIN, Situation, Verdict, decide
from gyrostat_trainer.domain.runs import Decision, Run, ServingFacts
from gyrostat_trainer.usecases.bell import Bell
from gyrostat_trainer.usecases.plans import Plans
from gyrostat_trainer.usecases.ports import Diary, Ledger, Workshop

ACTOR = "gyrostat-trainer"
QUEUE = "queue"


class Decide:
    """Every decision is stored with its reason, also the one not to train; the same is not said twice of a cause."""

    def __init__(
        self, ledger: Ledger, plans: Plans, workshop: Workshop, clock: Clock, ids: Ids, voice: tuple[Bell, Diary]
    ) -> None:
        self._ledger, self._plans, self._workshop = ledger, plans, workshop
        self._clock, self._ids = clock, ids
        self._bell, self._diary = voice

    async def hear(self, news: Episode) -> None:
        """An episode opened, was confirmed, or ended. Its watermark may make other causes due as well."""
        plan = self._plans.of(news.model, news.environment)
        async with self._ledger.transaction():
            await self._ledger.alone_with(news.model)
            known = await self._ledger.episode(news.id)
            episode = replace(news, was_confirmed=news.state == "confirmed") if known is None else known.heard(news)
            await self._ledger.save_episode(episode)
            await self._reconsider(plan, episode, news.watermark_us)

    async def hear_watermark(self, model: str, environment: str, watermark_us: int) -> None:
        """Event time went on: causes that waited may be due. Returns after deciding about each."""
        plan = self._plans.of(model, environment)
        async with self._ledger.transaction():
            await self._ledger.alone_with(model)
            known = await self._ledger.watermark_us(model, environment)
            if known is None or watermark_us > known:
                await self._reconsider(plan, None, watermark_us, model, environment)

    async def look_again(self) -> None:
        """For every model with an open episode: how far has its archive come?

        A waiting cause must not hang on the next event about it, which may never come; the archive always moves on.
        """
        for model, environment in await self._ledger.models_with_open_episodes():
            newest = await self._workshop.newest_us(model)
            plan = self._plans.of(model, environment)
            if newest is not None and plan is not None:
                await self.hear_watermark(model, environment, newest - plan.spec.lateness_s * 1_000_000)

    async def _reconsider(
        self,
        plan: ServingFacts | None,
        about: Episode | None,
        watermark_us: int,
        model: str = "",
        environment: str = "",
    ) -> None:
        model, environment = (about.model, about.environment) if about else (model, environment)
        newest = await self._ledger.raise_watermark(model, environment, watermark_us)
        if plan is None:
            return
        waiting = await self._ledger.open_episodes(model, environment)
        if about is not None and about.id not in [e.id for e in waiting]:
            waiting.append(about)
        for episode in sorted(waiting, key=lambda e: (e.started_at_us, e.id)):
            await self._decide(plan, episode, newest)

    async def _decide(self, plan: ServingFacts, episode: Episode, watermark_us: int) -> None:
        open_run = await self._ledger.open_run(episode.model, episode.environment)
        quality = await self._ledger.data_quality_episodes(episode.model, episode.environment)
        verdict = decide(
            Situation(
                episode=episode,
                spec=plan.spec,
                champion=plan.champion,
                watermark_us=watermark_us,
                open_run=open_run.id if open_run else "",
                rollout_open=plan.rollout_open,
                data_quality=tuple(e.id for e in quality if e.is_open),
                trainings_us=await self._ledger.trainings_us(episode.model, episode.environment),
            )
        )
        if verdict.silent or (verdict.rule == episode.last_rule and verdict.action not in (TRAIN, ATTACH)):
            return
        episode = replace(episode, last_rule=verdict.rule)
        run_id = ""
        if verdict.action == TRAIN:
            run_id = await self._queue(plan, episode, verdict, watermark_us)
            episode = replace(episode, attempts=episode.attempts + 1, run_id=run_id)
        elif verdict.action == ATTACH and open_run is not None:
            run_id = open_run.id
            await self._ledger.save_run(open_run.joined(episode.id))
            episode = replace(episode, attempts=episode.attempts + 1, run_id=run_id)
            self._ledger.after_commit(lambda: self._bell.ring(run_id))
        await self._ledger.save_episode(episode)
        await self._record(episode, verdict, watermark_us, run_id)
        about = {"cause": episode.id, "model": episode.model, "kind": episode.kind, "version": episode.version}
        self._diary.tell("decided", action=verdict.action, reason=verdict.reason, run=run_id, **about)

    async def _queue(self, plan: ServingFacts, episode: Episode, verdict: Verdict, watermark_us: int) -> str:
        run = Run(
            id=self._ids.new(),
            model=episode.model,
            environment=episode.environment,
            cause=episode.cause,
            causes=(episode.id,),
            correlation_id=episode.correlation_id or episode.id,
            causation_id=episode.event_id,
            traceparent=episode.traceparent,
            spec=plan.spec,
            reason=verdict.reason,
            created_by=ACTOR,
            created_at_us=microseconds(self._clock.now()),
            watermark_us=watermark_us,
            until_us=watermark_us - plan.spec.lag_s * 1_000_000,
        )
        await self._ledger.add_run(run)
        self._ledger.after_commit(lambda: self._bell.ring(QUEUE))
        return run.id

    async def _record(self, episode: Episode, verdict: Verdict, watermark_us: int, run_id: str) -> None:
        await self._ledger.add_decision(
            Decision(
                cause=episode.id,
                model=episode.model,
                environment=episode.environment,
                action=verdict.action,
                reason=verdict.reason,
                watermark_us=watermark_us,
                at_us=microseconds(self._clock.now()),
                run_id=run_id,
                event_id=episode.event_id,
            )
        )
