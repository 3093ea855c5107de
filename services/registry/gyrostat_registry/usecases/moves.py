"""Makes the moves of roll-outs with all that belongs to them: plan, promotion, event, audit line, the next in line.

Every use case that changes what is live comes through here, inside its own transaction, with the model locked.
"""

from dataclasses import dataclass, replace

from gyrostat_common.clock import Clock
from gyrostat_common.ids import Ids
from gyrostat_registry.domain import autopilot
from gyrostat_registry.domain.audit import REGISTRY, Caller
from gyrostat_registry.domain.errors import EnvironmentNotFound, VersionNotFound
from gyrostat_registry.domain.evidence import Promotion
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT
from gyrostat_registry.domain.plan import (
    Cast,
    Lineup,
    Phase,
    Plan,
    PlannedVersion,
    Shadow,
    cast,
    change_between,
    lineup_after,
    planned,
)
from gyrostat_registry.domain.rollout import QUEUED, Moment, Rollout, State
from gyrostat_registry.domain.spec import Mode, ModelSpec
from gyrostat_registry.domain.version import Version
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.ports import Announcer, Records

_ACTIONS = {
    State.PROPOSED: "rollout.propose", State.WAITING: "rollout.wait", State.SHADOW: "rollout.start",
    State.CANARY: "rollout.advance", State.GUARD: "rollout.advance", State.PROMOTED: "rollout.promote",
    State.ROLLED_BACK: "rollout.rollback", State.SUPERSEDED: "rollout.supersede",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One model in one environment, as it stands in this transaction."""

    environment: str
    model: str
    spec: ModelSpec
    plan: Plan | None
    mode: Mode

    @property
    def lineup(self) -> Lineup:
        """Who answers; nobody before the first plan."""
        return self.plan.lineup if self.plan else Lineup()

    @property
    def retired(self) -> bool:
        """It was live once and is not any more."""
        return self.plan is not None and self.plan.champion is None


class Moves:
    """The only writer of plans, promotions and roll-outs."""

    def __init__(self, announcer: Announcer, ledger: Ledger, clock: Clock, ids: Ids) -> None:
        self._announcer = announcer
        self._ledger = ledger
        self._clock = clock
        self._ids = ids

    async def place(self, tx: Records, environment: str, model: str) -> Place:
        """Locks the model and reads where it stands. ModelNotFound, EnvironmentNotFound."""
        environment = environment or DEFAULT_ENVIRONMENT
        await tx.lock_model(model)
        if environment not in await tx.environments():
            raise EnvironmentNotFound(f"there is no environment {environment!r}")
        _, spec = await tx.model(model)
        mode = autopilot.effective(spec.autopilot, await tx.switch())
        return Place(environment, model, spec, await tx.plan(environment, model), mode)

    async def moment(self, tx: Records, place: Place, actor: str, reason: str) -> Moment:
        """Now by the wall clock, and the newest event time heard of the model."""
        event_time = await tx.watermark(place.environment, place.model)
        return Moment(self._clock.now(), event_time, actor, reason)

    def new(self, place: Place, version: Version, caller: Caller, *, automatic: bool) -> Rollout:
        """A roll-out that has not begun."""
        return Rollout(
            id=self._ids.new(), environment=place.environment, model=place.model, version=version.number,
            state=State.WAITING, actor=REGISTRY if automatic else caller.actor, created_at=self._clock.now(),
            cause=version.cause or ("" if automatic else caller.actor),
            correlation_id=version.correlation_id or caller.correlation_id,
            causation_id=version.causation_id or caller.causation_id, automatic=automatic,
            held=place.mode is Mode.OFF,
        )  # fmt: skip

    async def make(
        self, tx: Records, place: Place, before: State, after: Rollout, caller: Caller, *, quiet: bool = False
    ) -> Place:
        """Keeps a move and what follows from it. `quiet` leaves the plan to the move that comes right after."""
        step = after.steps[-1]
        await self.note(tx, _ACTIONS[after.state], after, caller, step.reason, {"weight": after.weight})
        lineup = lineup_after(place.lineup, after, before)
        shapes_plan = after.state not in QUEUED and (after.active or before not in QUEUED or lineup != place.lineup)
        if quiet or not shapes_plan:
            await tx.save_rollout(after)
            return place
        plan = await self.publish(tx, place, lineup, after, caller, step.reason, step.actor)
        await tx.save_rollout(after.at_revision(plan.revision))
        await self._change_champion(tx, place, plan, after, caller)
        return replace(place, plan=plan)

    async def publish(
        self, tx: Records, place: Place, lineup: Lineup, rollout: Rollout | None, caller: Caller, reason: str,
        actor: str, *, above: int = 0,
    ) -> Plan:  # fmt: skip
        """Writes the next revision of a plan, complete, and its event. The revision also lies above `above`."""
        open_one = rollout if rollout is not None and rollout.active else None
        roles = cast(lineup, open_one)
        at = rollout.step_event_time if rollout else await tx.watermark(place.environment, place.model)
        plan = await self._filled(tx, place, roles, lineup)
        plan = replace(
            plan, revision=max(place.plan.revision if place.plan else 0, above) + 1, made_at=self._clock.now(),
            event_time=at,
            rollout_id=open_one.id if open_one else "",
            step_started_at=open_one.step_event_time if open_one else None,
            rollout_started_at=open_one.started_event_time if open_one else None,
            phase=roles.phase if open_one else Phase.NONE, reason=reason, actor=actor,
        )  # fmt: skip
        await tx.add_plan(plan)
        await self._announcer.plan(plan, caller)
        return plan

    async def _filled(self, tx: Records, place: Place, roles: Cast, lineup: Lineup) -> Plan:
        aliases = await tx.aliases(place.model)
        found: dict[int, PlannedVersion] = {0: None}  # type: ignore[dict-item]
        for number in roles.numbers:
            version = await tx.version(place.model, number)
            if version is None:
                raise VersionNotFound(f"there is no {place.model}:{number}")
            found[number] = planned(version, aliases)
        shadows = tuple(
            Shadow(found[number], pinned=pinned, purpose=purpose) for number, purpose, pinned in roles.shadows
        )
        return Plan(
            environment=place.environment, model=place.model, revision=0, made_at=self._clock.now(), spec=place.spec,
            champion=found[roles.champion], canary=found[roles.canary], canary_weight=roles.canary_weight,
            shadows=shadows, fallback=found[roles.fallback], judge_version=roles.judge_version,
            judge_baseline=roles.judge_baseline, phase=roles.phase, pins=lineup.pins,
        )  # fmt: skip

    async def _change_champion(self, tx: Records, place: Place, plan: Plan, rollout: Rollout, caller: Caller) -> None:
        before, after = place.lineup.champion, plan.lineup.champion
        change = change_between(before, after, rollout.state is State.ROLLED_BACK)
        if change is None:
            return
        step = rollout.steps[-1]
        promotion = Promotion(
            environment=place.environment, model=place.model, change=change, version_before=before, version_after=after,
            plan_revision=plan.revision, rollout_id=rollout.id, cause=rollout.cause, actor=step.actor, at=step.at,
            event_time=step.event_time, approvals=rollout.approvals, evidence=step.reason,
            correlation_id=rollout.correlation_id, causation_id=caller.causation_id,
            automatic=rollout.automatic and not rollout.approvals and rollout.state is not State.ROLLED_BACK,
        )  # fmt: skip
        await self.promoted(tx, promotion)

    async def promoted(self, tx: Records, promotion: Promotion) -> None:
        """Keeps a change of champion and tells the world."""
        await tx.add_promotion(promotion)
        await self._announcer.promoted(promotion)

    async def note(
        self, tx: Records, action: str, rollout: Rollout, caller: Caller, reason: str, detail: dict[str, object],
        actor: str = "",
    ) -> None:  # fmt: skip
        """An audit line about a roll-out. Without an `actor` it is the one of its last step."""
        facts = {"rollout": rollout.id, "environment": rollout.environment, "state": str(rollout.state), **detail}
        actor = actor or (rollout.steps[-1].actor if rollout.steps else rollout.actor)
        by = replace(caller, actor=actor, correlation_id=rollout.correlation_id)
        subject = f"{rollout.model}:{rollout.version}"
        await self._ledger.note(tx, by, action, subject, model=rollout.model, reason=reason, detail=facts)

    async def start_next(self, tx: Records, place: Place, caller: Caller) -> Place:
        """Starts the roll-out that waits, if nothing is at work and autopilot lets it."""
        if await tx.active_rollout(place.environment, place.model) is not None:
            return place
        waiting = await tx.queued_rollout(place.environment, place.model)
        if waiting is None or waiting.state is not State.WAITING or place.mode is Mode.OFF:
            return place
        why_not = await self.obstacle(tx, place) if not waiting.approved_or_asked else ""
        moment = await self.moment(tx, place, REGISTRY, why_not or "its turn: no other roll-out is open")
        if why_not:
            return await self.make(tx, place, waiting.state, waiting.queued(State.PROPOSED, moment), caller)
        return await self.start(tx, place, waiting, moment, caller)

    async def start(self, tx: Records, place: Place, rollout: Rollout, moment: Moment, caller: Caller) -> Place:
        """Begins a queued roll-out: shadow, or champion at once where there is none."""
        lineup = place.lineup
        begun = rollout.started(lineup.champion, lineup.fallback, moment)
        return await self.make(tx, place, rollout.state, begun, caller)

    async def obstacle(self, tx: Records, place: Place) -> str:
        """Why the registry does not start a roll-out by itself; "" when nothing stands in the way."""
        if place.mode is Mode.OFF:
            return "autopilot is off"
        if place.mode is Mode.PROPOSE:
            return "autopilot proposes: a person approves"
        if place.retired:
            return "the model was retired: a person brings it back"
        most = place.spec.rollout.max_promotions_per_7_days
        recent = await tx.automatic_promotions(place.environment, place.model, most)
        now = await tx.watermark(place.environment, place.model)
        if autopilot.braked([promotion.event_time for promotion in recent], now, most):
            text = f"{most} automatic promotions in 7 days of event time: a person approves the next"
            await self._announcer.alert(place.model, place.environment, place.spec.owner, text)
            return text
        return ""

    async def replace_queued(self, tx: Records, place: Place, by: int, caller: Caller) -> None:
        """A newer candidate takes the place of the one that waits or is proposed."""
        older = await tx.queued_rollout(place.environment, place.model)
        if older is not None:
            moment = await self.moment(tx, place, caller.actor, f"replaced by {place.model}:{by}")
            await self.make(tx, place, older.state, older.superseded(moment), caller)

    async def republish(self, tx: Records, model: str, caller: Caller, reason: str) -> None:
        """The next revision of every plan of a model with the same people in it: its spec or aliases changed."""
        for plan in await tx.plans_of(model):
            place = await self.place(tx, plan.environment, model)
            rollout = await tx.active_rollout(plan.environment, model)
            await self.publish(tx, place, plan.lineup, rollout, caller, reason, caller.actor)
