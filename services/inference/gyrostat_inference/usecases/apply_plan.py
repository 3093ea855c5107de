"""Follows the plan: loads what it wants, then swaps one reference; old versions go when their last request is through.

`follow` takes a plan in, at once; `run` is the task that works on the newest plan of each model and tries again what
failed. A new champion that cannot be loaded leaves the old plan in force.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from gyrostat_common.errors import GyrostatError, Unavailable
from gyrostat_inference.domain.errors import ModelRefused, PlanDecides, VersionNotLoaded
from gyrostat_inference.domain.live import LiveModel, LiveModels, LoadedVersion, live_model
from gyrostat_inference.domain.plan import Plan, PlannedVersion, ServingSpec
from gyrostat_inference.domain.sensitivity import Keeping

FIRST_RETRY_S, LAST_RETRY_S = 2.0, 60.0


class Loader(Protocol):
    """See `usecases.load`."""

    async def load(self, model: str, planned: PlannedVersion, spec: ServingSpec) -> LoadedVersion: ...
    async def keeping(self, planned: PlannedVersion, spec: ServingSpec) -> Keeping: ...


class PlanCache(Protocol):
    """The last plan of each model, on disk."""

    def read(self) -> list[tuple[Plan, bytes]]: ...
    def write(self, plan: Plan, raw: bytes) -> None:
        """Raises Unavailable when the disk takes nothing."""
        ...


class Watcher(Protocol):
    """Told about every decision."""

    def applied(self, plan: Plan) -> None: ...
    def not_loaded(self, model: str, version: int, revision: int, reason: str) -> None: ...
    def runs_alone(self, model: str, version: int, reason: str) -> None: ...
    def held_up(self, plan: Plan, reason: str) -> None: ...
    def not_cached(self, plan: Plan, reason: str) -> None: ...


class ApplyPlan:
    """The one task that changes what is live."""

    def __init__(
        self, models: LiveModels, loader: Loader, cache: PlanCache, watcher: Watcher, changed: Callable[[], None]
    ) -> None:
        self._models, self._loader, self._cache = models, loader, cache
        self._watcher, self._changed = watcher, changed
        self._newest: dict[str, tuple[Plan, bytes]] = {}
        self._todo: dict[str, float] = {}  # model → seconds until the next try after this one
        self._tried: dict[str, int] = {}  # model → revision that was worked on, whatever came of it
        self._asked: dict[str, list[asyncio.Future[None]]] = {}  # model → those who wait for its next try
        self._wake = asyncio.Event()
        self.restored = 0

    async def follow(self, plan: Plan, raw: bytes) -> None:
        """Takes a plan in. An older revision than is known changes nothing."""
        known = self._newest.get(plan.model)
        if known is None or plan.revision > known[0].revision:
            self._newest[plan.model] = (plan, raw)
            self._todo[plan.model] = FIRST_RETRY_S
            self._wake.set()

    async def again(self, model: str) -> None:
        """Tries now what the newest plan names and could not be loaded. Raises PlanDecides where none names it,
        VersionNotLoaded when it fails again.
        """
        newest = self._newest.get(model)
        if newest is None or newest[0].champion is None:
            raise PlanDecides(f"no plan has a champion of '{model}': promote a version, and it is loaded")
        if self._tried.get(model, -1) == newest[0].revision and self._models.missing(model) is None:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._asked.setdefault(model, []).append(waiting)
        self._todo[model] = FIRST_RETRY_S
        self._wake.set()
        await waiting
        if (missing := self._models.missing(model)) is not None:
            raise VersionNotLoaded(missing)

    @property
    def tried(self) -> Mapping[str, int]:
        """Model → the newest revision that was worked on, whatever came of it."""
        return self._tried

    @property
    def busy(self) -> bool:
        """Whether a plan was taken in that has not been worked on. One that is held up has been."""
        return any(self._tried.get(model, -1) < plan.revision for model, (plan, _) in self._newest.items())

    async def restore(self) -> None:
        """Begins with the plans of the last run: what starts with Kafka and the registry down."""
        for plan, raw in self._cache.read():
            self.restored += 1
            await self.follow(plan, raw)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            again = await self.work()
            try:
                async with asyncio.timeout(again):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def work(self) -> float | None:
        """Applies what waits. Returns after how many seconds to try again; None: everything is in force."""
        for model, delay in list(self._todo.items()):
            plan, raw = self._newest[model]
            asked = self._asked.pop(model, ())
            complete = await self.apply(plan, raw)
            for waiting in asked:
                if not waiting.done():
                    waiting.set_result(None)
            self._tried[model] = plan.revision
            if self._newest[model][0].revision > plan.revision:
                self._todo[model] = 0.0
            elif complete:
                del self._todo[model]
            else:
                self._todo[model] = min(max(delay, FIRST_RETRY_S) * 2, LAST_RETRY_S)
        return min(self._todo.values(), default=None)

    async def apply(self, plan: Plan, raw: bytes) -> bool:
        """One plan. True when every version of it is loaded."""
        now = self._models.get(plan.model)
        loaded, failed = await self._load_all(plan, now)
        champion = plan.champion
        if (
            champion is None
            or champion.number in loaded
            or now is None
            or not now.ready
            or now.plan.revision == plan.revision
        ):
            self._models.swap(live_model(plan, loaded, failed))
            self._watcher.applied(plan)
            cached = self._cached(plan, raw) if champion is None or champion.number in loaded else True
        else:
            cached = True
            self._models.hold_up(plan, failed)
            self._watcher.held_up(plan, failed[champion.number])
        self._changed()
        return cached and not failed

    def _cached(self, plan: Plan, raw: bytes) -> bool:
        """False when the disk took nothing: the plan is in force, and is tried again for the sake of the cache."""
        try:
            self._cache.write(plan, raw)
        except Unavailable as error:
            self._watcher.not_cached(plan, str(error))
            return False
        return True

    async def _load_all(self, plan: Plan, now: LiveModel | None) -> tuple[dict[int, LoadedVersion], dict[int, str]]:
        loaded: dict[int, LoadedVersion] = {}
        failed: dict[int, str] = {}
        have: Mapping[int, LoadedVersion] = now.loaded if now is not None else {}
        versions = sorted(
            plan.versions().items(), key=lambda item: plan.champion is None or item[0] != plan.champion.number
        )
        for number, planned in versions:
            try:
                loaded[number] = await self._version(plan, planned, now, have.get(number))
            except (GyrostatError, ModelRefused, OSError) as error:  # OSError: no disk, no process for the trial
                failed[number] = str(error)
                self._watcher.not_loaded(plan.model, number, plan.revision, str(error))
        return loaded, failed

    async def _version(
        self, plan: Plan, planned: PlannedVersion, now: LiveModel | None, have: LoadedVersion | None
    ) -> LoadedVersion:
        """The version as it is loaded already, where nothing but its surroundings has changed."""
        if have is None or now is None or have.planned.artifact.sha256 != planned.artifact.sha256:
            return await self._load(plan, planned)
        if now.plan.spec.engine.opening != plan.spec.engine.opening:
            return await self._load(plan, planned)
        if now.plan.spec.sensitivity == plan.spec.sensitivity and have.planned.profile == planned.profile:
            return replace(have, planned=planned)
        return replace(have, planned=planned, keeping=await self._loader.keeping(planned, plan.spec), groups={})

    async def _load(self, plan: Plan, planned: PlannedVersion) -> LoadedVersion:
        with self._models.being_loaded(plan, planned.number):
            version = await self._loader.load(plan.model, planned, plan.spec)
        if version.alone:
            self._watcher.runs_alone(plan.model, planned.number, version.alone)
        return version
