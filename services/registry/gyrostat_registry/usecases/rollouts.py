"""Roll-outs: candidates are considered, started, approved, judged, and looked at."""

from dataclasses import replace

from gyrostat_registry.domain.audit import REGISTRY, Caller
from gyrostat_registry.domain.errors import (
    AlreadyChampion,
    AutopilotOff,
    RolloutNotFound,
    VersionArchived,
    VersionNotFound,
    VersionRejected,
)
from gyrostat_registry.domain.evidence import Judgement
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.rollout import Moment, Move, Rollout, State, decide
from gyrostat_registry.domain.spec import Mode
from gyrostat_registry.domain.version import Version
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves, Place
from gyrostat_registry.usecases.ports import Records, Store


class Rollouts:
    """What people and verdicts do to roll-outs."""

    def __init__(self, store: Store, moves: Moves, ledger: Ledger) -> None:
        self._store = store
        self._moves = moves
        self._ledger = ledger

    async def consider(self, tx: Records, version: Version, caller: Caller) -> Rollout | None:
        """Decides on a version that was just registered: start, queue, propose, or nothing. The registry acts here."""
        if not version.gates or version.rejected:
            return None
        place = await self._moves.place(tx, DEFAULT_ENVIRONMENT, version.model)
        await self._moves.replace_queued(tx, place, version.number, replace(caller, actor=REGISTRY))
        rollout = self._moves.new(place, version, caller, automatic=True)
        obstacle = await self._moves.obstacle(tx, place)
        busy = await tx.active_rollout(place.environment, place.model) is not None
        moment = await self._moves.moment(tx, place, REGISTRY, obstacle or "all gates passed")
        if place.mode is Mode.OFF or (busy and not obstacle):
            reason = obstacle or "all gates passed; another roll-out is open"
            queued = rollout.queued(State.WAITING, replace(moment, reason=reason))
            await self._moves.make(tx, place, State.WAITING, queued, caller)
        elif obstacle:
            proposed = rollout.queued(State.PROPOSED, moment)
            await self._moves.make(tx, place, State.PROPOSED, proposed, caller)
        else:
            await self._moves.start(tx, place, rollout, moment, caller)
        return await tx.rollout(rollout.id)

    async def start(self, caller: Caller, environment: str, model: str, number: int, reason: str) -> Rollout:
        """A person starts the roll-out of a version; it waits when another one is open."""
        async with self._store.transaction() as tx:
            place = await self._moves.place(tx, environment, model)
            version = await rollable(tx, place, number, force=False)
            if place.mode is Mode.OFF:
                raise AutopilotOff(f"autopilot of {model} is off: nothing starts; promote by hand or turn it on")
            await self._call(tx, "StartRollout", caller, version, reason)
            await self._moves.replace_queued(tx, place, number, caller)
            rollout = self._moves.new(place, version, caller, automatic=False)
            moment = await self._moves.moment(tx, place, caller.actor, reason or "started by hand")
            await self._start_or_wait(tx, place, rollout, moment, caller)
            return await existing(tx, rollout.id)

    async def approve(self, caller: Caller, rollout_id: str, reason: str) -> Rollout:
        """A person lets a proposed roll-out go; it waits when another one is open."""
        async with self._store.transaction() as tx:
            known = await existing(tx, rollout_id)
            place = await self._moves.place(tx, known.environment, known.model)
            rollout = await existing(tx, rollout_id)
            moment = await self._moves.moment(tx, place, caller.actor, reason or f"approved by {caller.actor}")
            approved = rollout.approved(moment)
            if place.mode is Mode.OFF:
                raise AutopilotOff(f"autopilot of {known.model} is off: nothing starts; turn it on or to propose")
            version = await rollable(tx, place, rollout.version, force=False)
            await self._call(tx, "ApproveRollout", caller, version, reason)
            await self._moves.make(tx, place, rollout.state, approved, caller)
            await self._moves.start_next(tx, place, caller)
            return await existing(tx, rollout_id)

    async def _start_or_wait(self, tx: Records, place: Place, rollout: Rollout, moment: Moment, caller: Caller) -> None:
        if await tx.active_rollout(place.environment, place.model) is None:
            await self._moves.start(tx, place, rollout, moment, caller)
        else:
            waiting = rollout.queued(
                State.WAITING, replace(moment, reason=f"{moment.reason}; another roll-out is open")
            )
            await self._moves.make(tx, place, State.WAITING, waiting, caller)

    async def judged(self, judgement: Judgement, caller: Caller) -> Judgement:
        """A verdict of the monitor. One on another revision than the plan in force, on no open roll-out or on another
        version changes nothing and is kept with the reason. All times come from the verdict's watermark.
        """
        async with self._store.transaction() as tx:
            if judgement.model not in await tx.model_names():
                return replace(judgement, outcome="stay: no such model")
            place = await self._moves.place(tx, judgement.environment, judgement.model)
            await tx.raise_watermark(place.environment, place.model, judgement.watermark)
            rollout = await tx.active_rollout(place.environment, place.model)
            why_not = _stale(judgement, rollout, place)
            if rollout is None or why_not:
                kept = replace(judgement, outcome=f"stay: {why_not}")
            else:
                caller = replace(caller, correlation_id=rollout.correlation_id)
                kept = await self._act(tx, place, rollout.timed(judgement.watermark), judgement, caller)
            await tx.add_judgement(kept)
            return kept

    async def _act(
        self, tx: Records, place: Place, rollout: Rollout, judgement: Judgement, caller: Caller
    ) -> Judgement:
        policy = place.spec.rollout
        move, why = decide(rollout, policy, judgement.verdict, judgement.watermark, place.mode)
        said = judgement.summary or "; ".join(judgement.guards)
        reason = f"{why}: {said}" if said else why
        moment = replace(await self._moves.moment(tx, place, REGISTRY, reason), event_time=judgement.watermark)
        if move is Move.STAY:
            await tx.save_rollout(replace(rollout, held=place.mode is Mode.OFF))
        else:
            after = {
                Move.ADVANCE: lambda: rollout.advanced(policy, moment),
                Move.ROLL_BACK: lambda: rollout.rolled_back(moment),
                Move.GIVE_UP: lambda: rollout.superseded(moment),
            }[move]()
            place = await self._moves.make(tx, place, rollout.state, after, caller)
            if after.over:
                await self._moves.start_next(tx, place, caller)
        return replace(judgement, outcome=f"{move}: {why}")

    async def _call(self, tx: Records, action: str, caller: Caller, version: Version, reason: str) -> None:
        caller = replace(caller, correlation_id=version.correlation_id)
        subject = f"{version.model}:{version.number}"
        await self._ledger.note(tx, caller, action, subject, model=version.model, reason=reason)

    async def get(self, rollout_id: str) -> Rollout:
        """One roll-out. RolloutNotFound."""
        async with self._store.reading() as tx:
            return await existing(tx, rollout_id)

    async def list(self, model: str, open_only: bool, page: Page) -> Listed[Rollout]:
        """Newest first."""
        async with self._store.reading() as tx:
            if model:
                await tx.model(model)
            return await tx.rollouts(model, open_only, page)


async def existing(tx: Records, rollout_id: str) -> Rollout:
    """The roll-out, or RolloutNotFound."""
    rollout = await tx.rollout(rollout_id)
    if rollout is None:
        raise RolloutNotFound(f"there is no roll-out {rollout_id!r}")
    return rollout


async def rollable(tx: Records, place: Place, number: int, *, force: bool) -> Version:
    """A version that may go live: there, not archived, not champion already, and no gate refused it (or `force`)."""
    version = await tx.version(place.model, number)
    if version is None:
        raise VersionNotFound(f"there is no {place.model}:{number}")
    name = f"{place.model}:{number}"
    if version.archived:
        raise VersionArchived(f"{name} is archived; register it again to bring it back")
    if place.lineup.champion == number:
        raise AlreadyChampion(f"{name} is the champion in {place.environment} already")
    if version.rejected and not force:
        refused = "; ".join(f"{gate.gate}: {gate.reason}" for gate in version.gates if not gate.passed)
        raise VersionRejected(f"{name} was refused by a gate ({refused}); promote it with force and a reason")
    return version


def _stale(judgement: Judgement, rollout: Rollout | None, place: Place) -> str:
    if rollout is None or place.plan is None:
        return "no roll-out is open"
    if judgement.rollout_id != rollout.id or judgement.version != rollout.version:
        return f"it is about roll-out {judgement.rollout_id}, open is {rollout.id}"
    if judgement.plan_revision != place.plan.revision:
        return f"it is about plan revision {judgement.plan_revision}, in force is {place.plan.revision}"
    return ""
