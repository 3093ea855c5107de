"""Joins outcomes with predictions, whichever comes first; duplicates, corrections, retries and late ones included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gyrostat_monitor.domain.frames import ANSWER
from gyrostat_monitor.domain.joins import Answer, Key, recount
from gyrostat_monitor.domain.outcomes import Outcome, winner
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Stores


class Join:
    """Inside a transaction of its caller."""

    def __init__(self, stores: Stores, known: Known) -> None:
        self._records, self._joins, self._counts, self._known = stores.records, stores.joins, stores.counts, known

    async def predictions(self, model: str, keys: Iterable[Key], requests: Iterable[tuple[str, int]]) -> None:
        """Answers have been added: outcomes that waited for them, and those that named a request answered again."""
        wanted = set(keys)
        waiting = await self._joins.outcomes(model, wanted)
        named = list(requests)
        moved = await self._joins.outcomes_by_ref(model, (f"request:{r}/{row}" for r, row in named)) if named else []
        if not waiting and not moved:
            return
        touched = set(waiting)
        if moved:
            touched |= await self._resolve_requests(model, moved)
        await self._recount(model, touched, await self._joins.outcomes(model, touched))

    async def outcomes(self, model: str, new: Sequence[Outcome], watermark_us: int | None) -> None:
        """New outcomes of one model."""
        keys = {o.ref.prediction for o in new if o.ref.prediction is not None}
        answers = await self._joins.answers(model, keys)
        at = {a.key: a.event_us for a in answers}
        known = await self._joins.outcomes(model, keys)
        placed = [(o, at.get(o.ref.prediction) if o.ref.prediction else None) for o in new]
        await self._joins.add_outcomes(placed)
        await self._records.count(model, {"outcomes_joined": sum(event_us is not None for _, event_us in placed)})
        for outcome, event_us in placed:
            if outcome.ref.prediction is not None:
                joined = outcome.ref.prediction if event_us is not None else None
                known.setdefault(outcome.ref.prediction, []).append(replace(outcome, joined=joined))
        await self._count_again(model, answers, known)
        await self._by_other_names(model, [o for o in new if o.ref.prediction is None], watermark_us)

    async def _by_other_names(self, model: str, new: Sequence[Outcome], watermark_us: int | None) -> None:
        by_request = [o for o in new if o.ref.request is not None]
        keys = await self._resolve_requests(model, by_request) if by_request else set()
        keys |= await self.entities(model, [o for o in new if o.ref.entity is not None], watermark_us)
        await self._recount(model, keys, await self._joins.outcomes(model, keys))

    async def entities(self, model: str, outcomes: Sequence[Outcome], watermark_us: int | None) -> set[Key]:
        """Resolves outcomes that name an entity and a time, once everything up to that time has been seen."""
        horizon_us = self._known.policy(model).horizon_s * 1_000_000
        found: list[tuple[Outcome, Key, int]] = []
        for outcome in outcomes:
            assert outcome.ref.entity is not None
            name, at_us = outcome.ref.entity
            if watermark_us is None or at_us > watermark_us:
                continue
            place = await self._joins.entity(model, name, at_us, at_us - horizon_us)
            if place is not None:
                found.append((outcome, *place))
        await self._found(model, found)
        return {key for _, key, _ in found}

    async def parked_entities(self, model: str, watermark_us: int) -> None:
        """The watermark moved: parked outcomes by entity may have found their prediction."""
        parked = await self._joins.parked_by_name(model, "entity:")
        keys = await self.entities(model, parked, watermark_us)
        if keys:
            await self._recount(model, keys, await self._joins.outcomes(model, keys))

    async def _resolve_requests(self, model: str, outcomes: Sequence[Outcome]) -> set[Key]:
        """Outcomes by request id to the last answer to it; returns predictions old and new."""
        names = {o.ref.request for o in outcomes if o.ref.request is not None}
        places = await self._joins.requests(model, names)
        found = [(o, *places[o.ref.request]) for o in outcomes if o.ref.request in places]
        moved = [(o, key, at) for o, key, at in found if o.joined != key]
        await self._found(model, moved)
        return {key for _, key, _ in moved} | {o.joined for o, _, _ in moved if o.joined is not None}

    async def _found(self, model: str, found: Sequence[tuple[Outcome, Key, int]]) -> None:
        await self._joins.settle(found)
        await self._joins.add_resolutions(model, found)
        await self._records.count(model, {"outcomes_joined": sum(o.joined is None for o, _, _ in found)})

    async def _recount(self, model: str, keys: set[Key], outcomes: Mapping[Key, list[Outcome]]) -> None:
        if not keys:
            return
        await self._count_again(model, await self._joins.answers(model, keys), outcomes)

    async def _count_again(self, model: str, answers: Sequence[Answer], outcomes: Mapping[Key, list[Outcome]]) -> None:
        if not answers:
            return
        await self._settle(model, answers, outcomes)
        policy, plan = self._known.policy(model), self._known.plan(model)
        pairing = await self._known.pairing(plan)
        won = {key: winner(found) for key, found in outcomes.items()}
        change = recount([(a, won.get(a.key)) for a in answers], policy, pairing)
        await self._joins.save_labels(model, change.answers, change.uniform)
        quality = {(model, v, role, tick): sums for (v, role, tick), sums in change.quality.items()}
        await self._counts.add_quality(quality)
        lags: dict[str, int] = defaultdict(int)
        for (_, _, role, _), changes in quality.items():
            for sums, sign in changes if role == ANSWER else ():
                for octave, n in sums.lags.items():
                    lags[f"lag/{octave}"] += sign * n
        await self._records.count(model, lags)
        if plan is not None and plan.rollout is not None and change.pairs:
            await self._counts.add_pairs(model, plan.rollout.id, change.pairs)
            grown = sum(p.rows for p in change.pairs.values())
            await self._records.count(model, {f"pairs/{plan.rollout.id}": grown})

    async def _settle(self, model: str, answers: Sequence[Answer], outcomes: Mapping[Key, list[Outcome]]) -> None:
        """Outcomes by id whose prediction is there are joined."""
        at = {a.key: a.event_us for a in answers}
        joined = [(o, key, at[key]) for key, found in outcomes.items() if key in at for o in found if o.joined is None]
        await self._joins.settle(joined)
        await self._records.count(model, {"outcomes_joined": len(joined)})
