"""Judges the open roll-out of a model and tells the registry, on every change and at least once per sub-window."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log
from uuid import uuid5

from gyrostat_monitor.domain.episodes import NAMESPACE
from gyrostat_monitor.domain.judge import Evidence, Traffic, added, design_effect, judge
from gyrostat_monitor.domain.plan import Plan, Rollout
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Announcer, Stores


class Judging:
    """Inside a transaction of its caller."""

    def __init__(self, stores: Stores, announcer: Announcer, known: Known) -> None:
        self._records, self._counts, self._history = stores.records, stores.counts, stores.history
        self._announcer, self._known = announcer, known

    async def model(self, plan: Plan, watermark_us: int, cause: str) -> None:
        """Nothing without a roll-out, and nothing when nothing is new."""
        rollout = plan.rollout
        if rollout is None:
            return
        progress = await self._records.progress(plan.model)
        traffic = await self._counts.traffic(plan.model, rollout.id)
        pairs = (await self._records.counters(plan.model)).get(f"pairs/{rollout.id}", 0)
        sub_window = watermark_us // (plan.policy.contract_s * 1_000_000)
        looked = json.dumps([plan.revision, sub_window, _news(pairs), _step_news(plan, rollout, traffic)])
        if progress.get("judge_looked") == looked:
            return
        evidence = await self._evidence(plan, rollout, watermark_us, traffic)
        judgement = judge(rollout, plan.rollout_policy, evidence)
        said = json.dumps([rollout.id, plan.revision, judgement.verdict, sub_window])
        await self._records.save_progress(plan.model, {"judge_looked": looked, "judge_said": said})
        if progress.get("judge_said") == said:
            return
        event_id = str(uuid5(NAMESPACE, f"{rollout.id}/{said}"))
        at = self._known.now_us()
        await self._history.add_judgement(
            plan.model, plan.environment, rollout, plan.revision, watermark_us, at, event_id, judgement
        )
        await self._announcer.judgement(plan, rollout, judgement, watermark_us, event_id, cause)

    async def _evidence(
        self, plan: Plan, rollout: Rollout, watermark_us: int, traffic: Mapping[tuple[int, int], Traffic]
    ) -> Evidence:
        tick_us = plan.policy.tick_s * 1_000_000
        ticks = await self._counts.pairs(plan.model, rollout.id)
        step = {t: p for t, p in ticks.items() if t + tick_us > rollout.step_started_us}
        pairing = await self._known.pairing(plan)
        answers = sum(t.answers for (_, version), t in traffic.items() if version == rollout.candidate)
        return Evidence(
            added(ticks.values()), added(step.values()), design_effect(ticks.values()), design_effect(step.values()),
            traffic.get((plan.revision, rollout.candidate), Traffic()),
            traffic.get((plan.revision, rollout.baseline), Traffic()), watermark_us,
            pairing.scale if pairing else 1.0, answers,
        )  # fmt: skip


def _news(rows: int) -> int:
    """Changes with every three percent more rows: looking costs more than it tells in between."""
    return int(log(1 + rows) / log(1.03))


def _step_news(plan: Plan, rollout: Rollout, traffic: Mapping[tuple[int, int], Traffic]) -> list[int]:
    """What the candidate did in the present step, as far as a guard could change its mind."""
    mine = traffic.get((plan.revision, rollout.candidate), Traffic())
    return [int(mine.answers >= plan.rollout_policy.min_exposure), _news(mine.answers), _news(mine.invalid)]
