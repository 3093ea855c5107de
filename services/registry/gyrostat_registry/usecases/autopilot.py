"""Autopilot: who may start roll-outs, for one model or for all."""

from dataclasses import replace

from gyrostat_common.clock import Clock
from gyrostat_common.errors import InvalidInput
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.autopilot import effective
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT
from gyrostat_registry.domain.rollout import State
from gyrostat_registry.domain.spec import Mode
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves
from gyrostat_registry.usecases.ports import Records, Store


class Autopilot:
    """Two switches; the stricter counts. Off holds open roll-outs at once; taking back works in every mode."""

    def __init__(self, store: Store, moves: Moves, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._moves = moves
        self._ledger = ledger
        self._clock = clock

    async def set(self, caller: Caller, model: str, mode: Mode, reason: str) -> tuple[Mode, Mode]:
        """Sets the model's switch, or with an empty model the one for all; (model's, everyone's) afterwards."""
        if mode is Mode.UNSPECIFIED:
            raise InvalidInput("mode: on, propose or off")
        async with self._store.transaction() as tx:
            if model:
                await self._set_model(tx, caller, model, mode, reason)
            else:
                await tx.save_switch(mode)
                detail = {"mode": str(mode)}
                await self._ledger.note(tx, caller, "SetAutopilot", "all models", reason=reason, detail=detail)
                for name in await tx.model_names():
                    await self.follow(tx, name, caller)
            own = (await tx.model(model))[1].autopilot if model else Mode.UNSPECIFIED
            return own, await tx.switch()

    async def _set_model(self, tx: Records, caller: Caller, model: str, mode: Mode, reason: str) -> None:
        await tx.lock_model(model)
        _, spec = await tx.model(model)
        detail = {"mode": str(mode), "before": str(spec.autopilot)}
        await self._ledger.note(tx, caller, "SetAutopilot", model, model=model, reason=reason, detail=detail)
        if spec.autopilot is not mode:
            changed = replace(spec, autopilot=mode, revision=spec.revision + 1)
            await tx.save_spec(model, changed, self._clock.now(), caller.actor)
            await self._moves.republish(tx, model, caller, f"autopilot {mode} by {caller.actor}")
        await self.follow(tx, model, caller)

    async def follow(self, tx: Records, model: str, caller: Caller) -> None:
        """Holds or releases open roll-outs, and starts one that waits, as the mode in force says."""
        for environment in {DEFAULT_ENVIRONMENT, *(plan.environment for plan in await tx.plans_of(model))}:
            place = await self._moves.place(tx, environment, model)
            off = place.mode is Mode.OFF
            for rollout in (await tx.active_rollout(environment, model), await tx.queued_rollout(environment, model)):
                if rollout is not None and rollout.held != off:
                    held = replace(rollout, held=off)
                    await tx.save_rollout(held)
                    action = "rollout.hold" if off else "rollout.release"
                    await self._moves.note(tx, action, held, caller, f"autopilot is {place.mode}", {}, caller.actor)
            if not off and (waiting := await tx.queued_rollout(environment, model)) and waiting.state is State.WAITING:
                await self._moves.start_next(tx, place, caller)

    async def get(self, model: str) -> tuple[Mode, Mode, Mode]:
        """The model's switch, the one for all, and what is in force."""
        async with self._store.reading() as tx:
            everywhere = await tx.switch()
            own = (await tx.model(model))[1].autopilot if model else Mode.UNSPECIFIED
            return own, everywhere, effective(own, everywhere) if model else everywhere
