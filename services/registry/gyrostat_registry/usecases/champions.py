"""What a person does to who answers: promote, roll back, retire, pin a shadow. Each is one call and one transaction."""

from dataclasses import replace
from datetime import datetime

from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.errors import (
    NoChampion,
    NothingToGoBackTo,
    ReasonMissing,
    RevisionMismatch,
    VersionArchived,
)
from gyrostat_registry.domain.evidence import Promotion
from gyrostat_registry.domain.plan import RETIRED, Change, Plan
from gyrostat_registry.domain.rollout import Rollout, State
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves, Place
from gyrostat_registry.usecases.ports import Records, Store
from gyrostat_registry.usecases.rollouts import existing, rollable


class Champions:
    """Changes of champion by hand. They work in every mode of autopilot."""

    def __init__(self, store: Store, moves: Moves, ledger: Ledger) -> None:
        self._store = store
        self._moves = moves
        self._ledger = ledger

    async def promote(
        self, caller: Caller, environment: str, model: str, number: int, *, reason: str, force: bool,
        expected_revision: int, event_time: datetime | None,
    ) -> tuple[Plan, Rollout]:  # fmt: skip
        """A version becomes champion at once; the old one guards it and the same evidence may take it back.

        An open roll-out ends, as the comparison it was making is over.
        """
        if force and not reason.strip():
            raise ReasonMissing("promoting with force needs a reason; it is kept in the audit log")
        async with self._store.transaction() as tx:
            place = await self._moves.place(tx, environment, model)
            check_revision(place, expected_revision)
            version = await rollable(tx, place, number, force=force)
            if event_time is not None:
                await tx.raise_watermark(place.environment, model, event_time)
            caller = replace(caller, correlation_id=version.correlation_id)
            detail = {"force": force, "environment": place.environment}
            await self._ledger.note(
                tx, caller, "Promote", f"{model}:{number}", model=model, reason=reason, detail=detail
            )
            await self._end_open(tx, place, caller, f"{model}:{number} was promoted by hand")
            rollout = self._moves.new(place, version, caller, automatic=False)
            rollout = replace(rollout, causation_id="", cause=caller.actor)
            moment = await self._moves.moment(tx, place, caller.actor, reason or f"promoted by {caller.actor}")
            moment = replace(moment, event_time=event_time or moment.event_time)
            jumped = rollout.jumped(place.lineup.champion, place.lineup.fallback, moment)
            place = await self._moves.make(tx, place, rollout.state, jumped, caller)
            return planned(place), await existing(tx, rollout.id)

    async def roll_back(
        self, caller: Caller, environment: str, model: str, *, reason: str, expected_revision: int
    ) -> tuple[Plan, Rollout | None]:
        """Ends the open roll-out (under guard the old champion answers again), or else puts the fallback back."""
        async with self._store.transaction() as tx:
            place = await self._moves.place(tx, environment, model)
            check_revision(place, expected_revision)
            rollout = await tx.active_rollout(place.environment, model)
            subject = f"{model}:{rollout.version if rollout else place.lineup.champion}"
            if rollout is not None:
                caller = replace(caller, correlation_id=rollout.correlation_id)
            await self._ledger.note(tx, caller, "Rollback", subject, model=model, reason=reason)
            if rollout is None:
                place = await self._put_fallback_back(tx, place, caller, reason)
                return planned(place), None
            moment = await self._moves.moment(tx, place, caller.actor, reason or f"rolled back by {caller.actor}")
            place = await self._moves.make(tx, place, rollout.state, rollout.rolled_back(moment), caller)
            place = await self._moves.start_next(tx, place, caller)
            return planned(place), await existing(tx, rollout.id)

    async def _put_fallback_back(self, tx: Records, place: Place, caller: Caller, reason: str) -> Place:
        lineup = place.lineup
        if not lineup.champion:
            raise NoChampion(f"{place.model} has no champion in {place.environment}")
        if not lineup.fallback:
            raise NothingToGoBackTo(
                f"{place.model} has no open roll-out and no previous champion in {place.environment}"
            )
        back = await tx.version(place.model, lineup.fallback)
        if back is None or back.archived:
            raise VersionArchived(f"the previous champion {place.model}:{lineup.fallback} is archived")
        text = reason or f"rolled back by {caller.actor}"
        changed = replace(lineup, champion=lineup.fallback, fallback=0)
        plan = await self._moves.publish(tx, place, changed, None, caller, text, caller.actor)
        await self._moves.promoted(tx, _by_hand(plan, Change.ROLLED_BACK, lineup.champion, caller, text))
        return replace(place, plan=plan)

    async def retire(self, caller: Caller, environment: str, model: str, reason: str) -> Plan:
        """A plan without a champion; what was open or queued is over."""
        async with self._store.transaction() as tx:
            place = await self._moves.place(tx, environment, model)
            before = place.lineup.champion
            if not before:
                raise NoChampion(f"{model} has no champion in {place.environment}; there is nothing to retire")
            await self._ledger.note(tx, caller, "RetireModel", model, model=model, reason=reason)
            text = reason or f"retired by {caller.actor}"
            await self._end_open(tx, place, caller, text)
            await self._moves.replace_queued(tx, place, 0, caller)
            plan = await self._moves.publish(tx, place, RETIRED, None, caller, text, caller.actor)
            await self._moves.promoted(tx, _by_hand(plan, Change.RETIRED, before, caller, text))
            return plan

    async def pin(self, caller: Caller, environment: str, model: str, number: int, pinned: bool) -> Plan:
        """Keeps a version as a shadow that no roll-out removes, or lets it go. Saying it twice changes nothing."""
        async with self._store.transaction() as tx:
            place = await self._moves.place(tx, environment, model)
            if place.plan is None or not place.lineup.champion:
                raise NoChampion(f"{model} has no champion in {place.environment}; a shadow scores its requests")
            if pinned and place.lineup.champion != number:
                await rollable(tx, place, number, force=True)
            if (number in place.lineup.pins) == pinned:
                return place.plan
            verb = "pinned" if pinned else "let go"
            await self._ledger.note(
                tx, caller, "PinShadow", f"{model}:{number}", model=model, detail={"pinned": pinned}
            )
            rollout = await tx.active_rollout(place.environment, model)
            text = f"shadow {number} {verb} by {caller.actor}"
            lineup = place.lineup.pinned(number, pinned)
            return await self._moves.publish(tx, place, lineup, rollout, caller, text, caller.actor)

    async def _end_open(self, tx: Records, place: Place, caller: Caller, reason: str) -> None:
        rollout = await tx.active_rollout(place.environment, place.model)
        if rollout is None:
            return
        guarded = rollout.state is State.GUARD
        moment = await self._moves.moment(tx, place, caller.actor, f"guard ended: {reason}" if guarded else reason)
        await self._moves.make(tx, place, rollout.state, rollout.ended_early(moment), caller, quiet=True)


def check_revision(place: Place, expected: int) -> None:
    """RevisionMismatch when the caller saw another plan than the one in force (0: whatever it is)."""
    current = place.plan.revision if place.plan else 0
    if expected and expected != current:
        raise RevisionMismatch(
            f"the plan of {place.model} in {place.environment} is at revision {current}, not {expected}; look again"
        )


def planned(place: Place) -> Plan:
    """The plan of a place that has one by now."""
    if place.plan is None:
        raise NoChampion(f"{place.model} has no plan in {place.environment}")
    return place.plan


def _by_hand(plan: Plan, change: Change, before: int, caller: Caller, text: str) -> Promotion:
    return Promotion(
        environment=plan.environment, model=plan.model, change=change, version_before=before,
        version_after=plan.lineup.champion, plan_revision=plan.revision, rollout_id="", cause=caller.actor,
        actor=caller.actor, at=plan.made_at, event_time=plan.event_time, evidence=text,
        correlation_id=caller.correlation_id,
    )  # fmt: skip
