"""Plans as they are looked at: now, as of a time, as a stream; and the replicas."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from gyrostat_registry.domain.errors import EnvironmentNotFound, PlanNotFound
from gyrostat_registry.domain.evidence import Replica
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.plan import Plan
from gyrostat_registry.usecases.ports import Records, Store


class Changes:
    """Wakes those who watch, after a commit. Of this process only: watchers look again after a while anyway."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.closed = False

    def close(self) -> None:
        """Nobody is told any more: those who watch stop."""
        self.closed = True
        self.tell()

    def tell(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before looking, so that no change falls between."""
        return self._next


class Plans:
    """What is live, and what was."""

    def __init__(self, store: Store, changes: Changes, *, look_again_s: float = 1.0) -> None:
        self._store = store
        self._changes = changes
        self._look_again_s = look_again_s

    async def get(self, environment: str, model: str, at: datetime | None) -> Plan:
        """The plan in force now or at a wall time. PlanNotFound."""
        environment = environment or DEFAULT_ENVIRONMENT
        async with self._store.reading() as tx:
            await tx.model(model)
            await _check_environment(tx, environment)
            plan = await tx.plan(environment, model, at)
        if plan is None:
            when = f" at {at.isoformat()}" if at else ""
            raise PlanNotFound(f"{model} had no plan in {environment}{when}: it has not been live")
        return plan

    async def list(self, environment: str, model: str, page: Page) -> Listed[Plan]:
        """The plan in force of every model, or all revisions of one, newest first."""
        environment = environment or DEFAULT_ENVIRONMENT
        async with self._store.reading() as tx:
            await _check_environment(tx, environment)
            if not model:
                return await tx.plans_in_force(environment, page)
            await tx.model(model)
            return await tx.plan_history(environment, model, page)

    async def watch(self, environment: str) -> AsyncIterator[Plan]:
        """Every plan in force, then each new revision, without gaps; ends only when the registry closes."""
        environment = environment or DEFAULT_ENVIRONMENT
        async with self._store.reading() as tx:
            await _check_environment(tx, environment)
        seen: dict[str, int] = {}
        while not self._changes.closed:
            woken = self._changes.next()
            for plan in await self._newer(environment, seen):
                seen[plan.model] = plan.revision
                yield plan
            try:
                async with asyncio.timeout(self._look_again_s):
                    await woken.wait()
            except TimeoutError:
                continue

    async def _newer(self, environment: str, seen: Mapping[str, int]) -> tuple[Plan, ...]:
        found: tuple[Plan, ...] = ()
        async with self._store.reading() as tx:
            for (place, model), revision in (await tx.revisions()).items():
                if place == environment and revision > seen.get(model, 0):
                    above = seen.get(model, revision - 1)
                    found += await tx.plans_between(environment, model, above, revision)
        return found

    async def replicas(self, environment: str) -> tuple[Replica, ...]:
        """What replicas last said, of those heard of in the last day."""
        environment = environment or DEFAULT_ENVIRONMENT
        async with self._store.reading() as tx:
            await _check_environment(tx, environment)
            return await tx.replicas(environment)


async def _check_environment(tx: Records, environment: str) -> None:
    if environment not in await tx.environments():
        raise EnvironmentNotFound(f"there is no environment {environment!r}")
