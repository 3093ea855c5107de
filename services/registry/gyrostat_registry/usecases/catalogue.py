"""Models and their specs, environments, aliases."""

from dataclasses import dataclass, replace

from gyrostat_common.clock import Clock
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.errors import (
    AliasNotFound,
    EnvironmentExists,
    RevisionMismatch,
    VersionArchived,
    VersionNotFound,
)
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT, checked_alias, checked_name
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.plan import following_aliases
from gyrostat_registry.domain.spec import ModelSpec, check_against, settled
from gyrostat_registry.domain.version import Model
from gyrostat_registry.usecases.autopilot import Autopilot
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves
from gyrostat_registry.usecases.ports import Records, Store


@dataclass(frozen=True)
class ModelView:
    """A model with its spec in force and every alias, free ones and those that follow the plan."""

    model: Model
    spec: ModelSpec
    aliases: dict[str, int]


class Catalogue:
    """What people name and describe."""

    def __init__(self, store: Store, moves: Moves, autopilot: Autopilot, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._moves = moves
        self._autopilot = autopilot
        self._ledger = ledger
        self._clock = clock

    async def create(self, caller: Caller, name: str, spec: ModelSpec) -> ModelView:
        """A new model with the first revision of its spec, defaults filled in."""
        checked_name(name)
        first = replace(settled(spec), revision=1)
        model = Model(name, self._clock.now(), caller.actor)
        async with self._store.transaction() as tx:
            await tx.add_model(model, first)
            await self._ledger.note(tx, caller, "CreateModel", name, model=name, detail={"owner": first.owner})
            return await _view(tx, name)

    async def get(self, name: str) -> ModelView:
        """One model. ModelNotFound."""
        async with self._store.reading() as tx:
            return await _view(tx, name)

    async def list(self, page: Page) -> Listed[ModelView]:
        """By name."""
        async with self._store.reading() as tx:
            found = await tx.models(page)
            return Listed(tuple([await _view(tx, model.name) for model, _ in found.rows]), found.last)

    async def update_spec(self, caller: Caller, name: str, spec: ModelSpec, expected: int) -> ModelView:
        """Replaces the spec; every plan of the model goes out again with it. RevisionMismatch: a lost update."""
        filled = settled(spec)
        async with self._store.transaction() as tx:
            await tx.lock_model(name)
            _, before = await tx.model(name)
            if expected and expected != before.revision:
                raise RevisionMismatch(
                    f"the spec of {name} is at revision {before.revision}, not {expected}; look again"
                )
            if replace(filled, revision=before.revision) == before:
                return await _view(tx, name)
            for plan in await tx.plans_of(name):
                if plan.champion is not None:
                    check_against(filled, plan.champion.signature)
            after = replace(filled, revision=before.revision + 1)
            await tx.save_spec(name, after, self._clock.now(), caller.actor)
            detail = {"revision": after.revision, "changed": _changed(before, after)}
            await self._ledger.note(tx, caller, "UpdateModelSpec", name, model=name, detail=detail)
            await self._moves.republish(tx, name, caller, f"spec revision {after.revision} by {caller.actor}")
            if before.autopilot is not after.autopilot:
                await self._autopilot.follow(tx, name, caller)
            return await _view(tx, name)

    async def create_environment(self, caller: Caller, name: str, description: str) -> None:
        """A new environment."""
        checked_name(name, "environment")
        async with self._store.transaction() as tx:
            if not await tx.add_environment(name, description[:4096]):
                raise EnvironmentExists(f"there is an environment {name!r} already")
            await self._ledger.note(tx, caller, "CreateEnvironment", name)

    async def environments(self) -> dict[str, str]:
        """Name → description."""
        async with self._store.reading() as tx:
            return await tx.environments()

    async def set_alias(self, caller: Caller, model: str, alias: str, number: int) -> ModelView:
        """Points a free alias at a version; plans that hold an affected version go out again."""
        checked_alias(alias)
        async with self._store.transaction() as tx:
            await tx.lock_model(model)
            version = await tx.version(model, number)
            if version is None:
                raise VersionNotFound(f"there is no {model}:{number}")
            if version.archived:
                raise VersionArchived(f"{model}:{number} is archived")
            before = (await tx.aliases(model)).get(alias, 0)
            if before != number:
                await tx.set_alias(model, alias, number)
                detail = {"alias": alias, "before": before}
                await self._ledger.note(tx, caller, "SetAlias", f"{model}:{number}", model=model, detail=detail)
                await self._moves.republish(tx, model, caller, f"alias {alias} → {number} by {caller.actor}")
            return await _view(tx, model)

    async def delete_alias(self, caller: Caller, model: str, alias: str) -> ModelView:
        """Removes a free alias. AliasNotFound."""
        checked_alias(alias)
        async with self._store.transaction() as tx:
            await tx.lock_model(model)
            if not await tx.set_alias(model, alias, None):
                raise AliasNotFound(f"{model} has no alias {alias!r}")
            await self._ledger.note(tx, caller, "DeleteAlias", model, model=model, detail={"alias": alias})
            await self._moves.republish(tx, model, caller, f"alias {alias} removed by {caller.actor}")
            return await _view(tx, model)


async def _view(tx: Records, name: str) -> ModelView:
    model, spec = await tx.model(name)
    plan = await tx.plan(DEFAULT_ENVIRONMENT, name)
    return ModelView(model, spec, {**await tx.aliases(name), **following_aliases(plan, model.latest_version)})


def _changed(before: ModelSpec, after: ModelSpec) -> list[str]:
    fields = [name for name in before.__dataclass_fields__ if name != "revision"]
    return [name for name in fields if getattr(before, name) != getattr(after, name)]
