"""The log compared with the tables: what is missing, older or unreadable in `serving.plan` is put right."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from gyrostat_common.clock import Clock
from gyrostat_registry.domain.audit import REGISTRY, Caller
from gyrostat_registry.domain.errors import KeyNotInTopic
from gyrostat_registry.domain.mending import REPUBLISH, Key, Mending, Unreadable, mending_of, plan_key, shown
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves
from gyrostat_registry.usecases.ports import Announcer, PlanTopic, Records, Store

REPLICA_KEPT = timedelta(days=1)
ANSWER_AGAIN = timedelta(minutes=1)


class Repair:
    """Compares what lies in `serving.plan` with the tables and puts right what differs."""

    def __init__(
        self, store: Store, moves: Moves, announcer: Announcer, ledger: Ledger, clock: Clock, topic: PlanTopic
    ) -> None:
        self._store = store
        self._moves = moves
        self._announcer = announcer
        self._ledger = ledger
        self._clock = clock
        self._topic = topic
        self._suspects: dict[Key, int] = {}
        self._answered: dict[bytes, datetime] = {}

    async def mend(self, caller: Caller, key: bytes, reason: str, *, dry_run: bool) -> tuple[Mending, ...]:
        """By hand: every key whose newest record cannot be read, or the one that is named. Our plan of the key goes out
        again; of a key without a plan of ours nothing is left. KeyNotInTopic.
        """
        unreadable = {one.key: one for one in self._topic.unreadable()}
        async with self._store.transaction() as tx:
            ours = await tx.revisions()
            if key and key not in unreadable:
                if plan_key(key) not in ours and not self._topic.holds(key):
                    raise KeyNotInTopic(f"serving.plan holds no key {shown(key)}")
                unreadable[key] = Unreadable(key, "")
            chosen = [unreadable[key]] if key else list(unreadable.values())
            mendings = tuple(mending_of(one, ours) for one in chosen)
            for mending in () if dry_run else mendings:
                await self._carry_out(tx, mending, caller, reason)
        return mendings

    async def _carry_out(self, tx: Records, mending: Mending, caller: Caller, reason: str) -> None:
        known = plan_key(mending.key)
        plan = await tx.plan(*known) if mending.action == REPUBLISH and known is not None else None
        detail = {"action": mending.action, "revision": mending.revision, "found": mending.found}
        subject, model = shown(mending.key), plan.model if plan else ""
        await self._ledger.note(tx, caller, "RepairPlanTopic", subject, model=model, reason=reason, detail=detail)
        if plan is not None:
            await self._announcer.plan(plan, caller)
        else:
            await self._announcer.no_plan(mending.key)

    async def compare(self, last: Mapping[Key, int], highest: Mapping[Key, int], *, sure: bool) -> int | None:
        """Republishes what is missing or older, and goes on above what is newer; how many plans went out.

        `last` is the revision that compaction keeps by (environment, model), `highest` the highest that was seen. While
        events wait in the outbox nothing can be said: None. Unless `sure`, a missing one must be missed twice in a
        row, for the reader may just be behind. A plan over which an unreadable record lies goes out at once, but not
        again within a minute: should we be the ones who write what cannot be read, the log must not fill with it.
        """
        missed: dict[Key, int] = {}
        count = 0
        unreadable = {known: one for one in self._topic.unreadable() if (known := plan_key(one.key)) is not None}
        async with self._store.transaction() as tx:
            await tx.forget_replicas(self._clock.now() - REPLICA_KEPT)
            if await self._announcer.waiting():
                return None
            for key, own in (await tx.revisions()).items():
                if highest.get(key, 0) > own:
                    await self._go_on_above(tx, key, highest[key])
                    count += 1
                elif key in unreadable:
                    count += await self._write_over(tx, key, unreadable[key])
                elif last.get(key, 0) < own:
                    missed[key] = own
                    if sure or self._suspects.get(key) == own:
                        said = f"the log held revision {last.get(key, 0)} instead of {own}"
                        await self._say_again(tx, key, said)
                        count += 1
        self._suspects = missed
        return count

    async def _go_on_above(self, tx: Records, key: Key, seen: int) -> None:
        environment, model = key
        place = await self._moves.place(tx, environment, model)
        rollout = await tx.active_rollout(environment, model)
        reason = f"the log held revision {seen}, this database {place.plan.revision if place.plan else 0}: restored"
        caller = Caller(REGISTRY)
        await self._ledger.note(tx, caller, "plan.restore", f"{environment}/{model}", model=model, reason=reason)
        await self._moves.publish(tx, place, place.lineup, rollout, caller, reason, REGISTRY, above=seen)

    async def _write_over(self, tx: Records, key: Key, unreadable: Unreadable) -> int:
        now = self._clock.now()
        if now - self._answered.get(unreadable.key, now - ANSWER_AGAIN) < ANSWER_AGAIN:
            return 0
        self._answered[unreadable.key] = now
        await self._say_again(tx, key, f"a record over it cannot be read: {unreadable.found}")
        return 1

    async def _say_again(self, tx: Records, key: Key, reason: str) -> None:
        environment, model = key
        caller = Caller(REGISTRY)
        plan = await tx.plan(environment, model)
        if plan is None:
            return
        await self._ledger.note(tx, caller, "plan.republish", f"{environment}/{model}", model=model, reason=reason)
        await self._announcer.plan(plan, caller)
