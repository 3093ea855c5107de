"""Applies serving plans: who answers, what is judged. Episodes of a version that stopped answering end as
superseded.
"""

from __future__ import annotations

from gyrostat_monitor.domain.episodes import superseded
from gyrostat_monitor.domain.joins import Answer, Key, paired_bin
from gyrostat_monitor.domain.judge import Pairs
from gyrostat_monitor.domain.plan import Plan
from gyrostat_monitor.usecases.advance import Teller
from gyrostat_monitor.usecases.judging import Judging
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Stores


class ApplyPlan:
    """The handler of serving.plan."""

    def __init__(self, stores: Stores, teller: Teller, judging: Judging, known: Known) -> None:
        self._records, self._counts, self._joins = stores.records, stores.counts, stores.joins
        self._history, self._tell, self._judging, self._known = stores.history, teller, judging, known

    async def __call__(self, plan: Plan, event_id: str) -> bool:
        """False when it is of another environment, or known already."""
        if plan.environment != self._known.environment:
            return False
        before = self._known.plan(plan.model)
        async with self._records.transaction():
            if not await self._records.save_plan(plan):
                return False
            self._known.put(plan)
            progress = await self._records.progress(plan.model)
            mark = int(progress["watermark"]) if "watermark" in progress else 0
            await self._supersede(plan, mark, event_id)
            if plan.rollout is not None:
                if before is None or before.rollout is None or before.rollout.id != plan.rollout.id:
                    await self._pair_anew(plan)
                if mark:
                    await self._judging.model(plan, mark, event_id)
        return True

    async def _supersede(self, plan: Plan, watermark_us: int, event_id: str) -> None:
        for episode in await self._history.open_episodes(plan.model):
            if episode.version not in plan.answering:
                why = f"Version {episode.version} does not answer any more (plan revision {plan.revision})"
                await self._tell(superseded(episode, watermark_us, why), event_id)

    async def _pair_anew(self, plan: Plan) -> None:
        """Rows may have been scored and labelled before the plan was heard here."""
        assert plan.rollout is not None
        pairing = await self._known.pairing(plan)
        assert pairing is not None
        keys = await self._joins.answers_of(plan.model, pairing.candidate, pairing.started_us)
        rows: dict[Key, dict[int, Answer]] = {}
        for answer in await self._joins.answers(plan.model, keys):
            if answer.role != 2:
                rows.setdefault(answer.key, {})[answer.version] = answer
        tick_us = plan.policy.tick_s * 1_000_000
        pairs: dict[int, Pairs] = {}
        for versions in rows.values():
            bin_ = paired_bin(versions, pairing, plan.policy)
            if bin_ is not None:
                tick = versions[pairing.candidate].event_us // tick_us * tick_us
                pairs[tick] = pairs.get(tick, Pairs()).plus(Pairs({bin_: 1}))
        await self._counts.drop_pairs(plan.model, plan.rollout.id)
        await self._counts.add_pairs(plan.model, plan.rollout.id, pairs)
        counted = (await self._records.counters(plan.model)).get(f"pairs/{plan.rollout.id}", 0)
        paired = sum(p.rows for p in pairs.values())
        await self._records.count(plan.model, {f"pairs/{plan.rollout.id}": paired - counted})
