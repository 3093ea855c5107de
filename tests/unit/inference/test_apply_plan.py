"""Following the plan: loaded first, then swapped; what cannot be loaded leaves the old plan in force."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gyrostat_common.errors import Unavailable
from gyrostat_inference.domain.engine_settings import (
    Batching,
    EngineSettings,
    Opening,
    Optimization,
    QueueLimits,
    WarmUp,
)
from gyrostat_inference.domain.errors import ModelRefused, ModelUnknown, PlanDecides, VersionNotLoaded
from gyrostat_inference.domain.live import LiveModels, LoadedVersion
from gyrostat_inference.domain.plan import Plan, PlannedVersion, Sensitivity, ServingSpec
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.usecases.apply_plan import ApplyPlan
from support.live_models import KEY, a_plan, a_shadow, loaded


class FakeLoader:
    def __init__(self) -> None:
        self.loads: list[int] = []
        self.refuse: dict[int, Exception] = {}

    async def load(self, model: str, planned: PlannedVersion, spec: ServingSpec) -> LoadedVersion:
        self.loads.append(planned.number)
        if planned.number in self.refuse:
            raise self.refuse[planned.number]
        return loaded(planned, await self.keeping(planned, spec))

    async def keeping(self, planned: PlannedVersion, spec: ServingSpec) -> Keeping:
        return Keeping(spec.sensitivity, {}, KEY)


class FakeCache:
    full = False

    def __init__(self, *plans: Plan) -> None:
        self.plans = {plan.model: plan for plan in plans}

    def read(self) -> list[tuple[Plan, bytes]]:
        return [(plan, b"") for plan in self.plans.values()]

    def write(self, plan: Plan, raw: bytes) -> None:
        if self.full:
            raise Unavailable("no space left on device")
        self.plans[plan.model] = plan


class Silent:
    def applied(self, plan: Plan) -> None:
        pass

    def not_loaded(self, model: str, version: int, revision: int, reason: str) -> None:
        pass

    def runs_alone(self, model: str, version: int, reason: str) -> None:
        pass

    def held_up(self, plan: Plan, reason: str) -> None:
        pass

    def not_cached(self, plan: Plan, reason: str) -> None:
        pass


class Bench:
    def __init__(self, *cached: Plan) -> None:
        self.models, self.loader, self.cache = LiveModels(), FakeLoader(), FakeCache(*cached)
        self.changes = 0
        self.cases = ApplyPlan(self.models, self.loader, self.cache, Silent(), self.changed)

    def changed(self) -> None:
        self.changes += 1

    async def follow(self, *plans: Plan) -> float | None:
        again = None
        for plan in plans:
            await self.cases.follow(plan, b"")
            again = await self.cases.work()
        return again

    @property
    def revision(self) -> int:
        live = self.models.get("flights")
        assert live is not None
        return live.plan.revision


async def test_a_plan_is_in_force_when_its_versions_are_loaded_and_cached_then():
    bench = Bench()
    assert await bench.follow(a_plan(revision=1, canary=5, shadows=(a_shadow(6),))) is None
    assert bench.loader.loads[0] == 4, "the champion first"
    assert sorted(bench.loader.loads) == [4, 5, 6]
    assert bench.models.revisions() == {"flights": 1}
    assert bench.cache.plans["flights"].revision == 1
    assert bench.models.not_ready() is None
    assert bench.changes == 1


async def test_a_version_that_stays_is_not_loaded_again_and_keeps_its_counters():
    bench = Bench()
    await bench.follow(a_plan(revision=1))
    first = bench.models.get("flights")
    await bench.follow(a_plan(revision=2, canary=5))
    second = bench.models.get("flights")
    assert bench.loader.loads == [4, 5]
    assert first is not None
    assert second is not None
    assert first.loaded[4].counters is second.loaded[4].counters


async def test_an_older_revision_changes_nothing():
    bench = Bench()
    await bench.follow(a_plan(revision=5), a_plan(champion=9, revision=4))
    assert bench.revision == 5
    assert bench.loader.loads == [4]


async def test_a_new_champion_that_is_refused_leaves_the_old_plan_in_force_and_is_tried_again():
    bench = Bench()
    bench.loader.refuse[5] = ModelRefused("ONNX Runtime cannot open it: protobuf parsing failed")
    again = await bench.follow(a_plan(revision=1), a_plan(champion=5, revision=2))
    assert bench.revision == 1
    assert bench.cache.plans["flights"].revision == 1
    assert again is not None
    rows = {(a.version, a.revision): (a.loaded, a.reason) for a in bench.models.applied()}
    assert rows == {(4, 1): (True, ""), (5, 2): (False, "ONNX Runtime cannot open it: protobuf parsing failed")}
    assert bench.models.not_ready() is None
    bench.loader.refuse.clear()
    assert await bench.cases.work() is None
    assert bench.revision == 2


async def test_a_first_champion_that_cannot_be_had_makes_the_replica_not_ready_with_the_reason():
    bench = Bench()
    bench.loader.refuse[4] = Unavailable("the artifact store does not answer")
    await bench.follow(a_plan())
    assert bench.models.not_ready() == "flights:4 (champion) is not loaded: the artifact store does not answer"


async def test_a_shadow_that_is_refused_holds_nobody_up():
    bench = Bench()
    bench.loader.refuse[6] = ModelRefused("crashed")
    await bench.follow(a_plan(revision=1, shadows=(a_shadow(6),)))
    assert bench.revision == 1
    assert [(a.version, a.reason) for a in bench.models.applied() if not a.loaded] == [(6, "crashed")]


async def test_a_retired_model_is_in_force_without_versions():
    bench = Bench()
    await bench.follow(a_plan(revision=1), a_plan(champion=None, revision=2))
    live = bench.models.get("flights")
    assert live is not None
    assert not live.loaded
    assert bench.models.not_ready() is None


async def test_the_last_plans_are_followed_at_the_start():
    bench = Bench(a_plan(revision=8))
    await bench.cases.restore()
    await bench.cases.work()
    assert bench.revision == 8


async def test_a_plan_that_is_held_up_has_been_worked_on():
    bench = Bench(a_plan(revision=1))
    await bench.cases.restore()
    assert bench.cases.busy
    await bench.cases.work()
    bench.loader.refuse[5] = ModelRefused("no model")
    await bench.cases.follow(a_plan(champion=5, revision=2), b"")
    assert bench.cases.busy
    await bench.cases.work()
    assert (bench.cases.busy, bench.revision) == (False, 1)


async def test_another_sensitivity_takes_effect_without_loading_again():
    bench = Bench()
    await bench.follow(a_plan(revision=1), a_plan(revision=2, spec=ServingSpec(sensitivity={"x": Sensitivity.DROP})))
    live = bench.models.get("flights")
    assert live is not None
    assert live.loaded[4].keeping.of("x", "FP32") is Sensitivity.DROP
    assert bench.loader.loads == [4]


async def test_a_plan_that_the_disk_does_not_take_is_in_force_and_cached_when_there_is_room():
    bench = Bench()
    bench.cache.full = True
    again = await bench.follow(a_plan(4, 7))
    assert (bench.revision, bench.cache.plans) == (7, {})
    assert again is not None, "tried again"
    bench.cache.full = False
    assert await bench.cases.work() is None
    assert bench.cache.plans["flights"].revision == 7
    assert bench.loader.loads == [4], "nothing is loaded a second time for it"


async def test_a_version_for_which_the_disk_has_no_room_holds_up_only_its_own_plan():
    bench = Bench()
    await bench.follow(a_plan(4, 7))
    bench.loader.refuse[5] = OSError(28, "No space left on device")
    assert await bench.follow(a_plan(5, 8)) is not None
    assert bench.revision == 7


async def test_what_failed_is_tried_again_when_somebody_asks_and_says_how_it_went():
    bench = Bench()
    bench.loader.refuse[4] = Unavailable("the artifact store does not answer")
    await bench.follow(a_plan(revision=1))
    with pytest.raises(PlanDecides, match="no plan has a champion of 'trains'"):
        await bench.cases.again("trains")
    following = asyncio.create_task(bench.cases.run())
    with pytest.raises(VersionNotLoaded, match="flights:4 is not loaded: the artifact store does not answer"):
        await bench.cases.again("flights")
    bench.loader.refuse.clear()
    await bench.cases.again("flights")
    assert bench.revision == 1
    assert bench.models.answering() == {"flights": True}
    loads = len(bench.loader.loads)
    await bench.cases.again("flights")
    assert len(bench.loader.loads) == loads, "what is loaded stays as it is"
    await bench.follow(a_plan(champion=None, revision=2))
    with pytest.raises(PlanDecides):
        await bench.cases.again("flights")
    assert bench.models.answering() == {"flights": False}
    following.cancel()


async def test_a_version_that_is_being_loaded_is_said_to_be():
    bench = Bench()
    during: list[object] = []

    class Looking(FakeLoader):
        async def load(self, model: str, planned: PlannedVersion, spec: ServingSpec) -> LoadedVersion:
            during.extend((row.version, row.loaded) for row in bench.models.loading())
            assert bench.models.answering() == {"flights": False}
            during.append(bench.models.unknown("flights"))
            return await super().load(model, planned, spec)

    bench.cases = ApplyPlan(bench.models, Looking(), bench.cache, Silent(), bench.changed)
    await bench.follow(a_plan())
    assert during[0] == (4, False)
    assert isinstance(during[1], VersionNotLoaded), "UNAVAILABLE: come back, or ask another replica"
    assert "flights:4 is not loaded: being loaded" in str(during[1])
    assert bench.models.loading() == []
    assert isinstance(bench.models.unknown("trains"), ModelUnknown)


async def test_what_a_session_is_made_with_opens_it_anew_and_nothing_else_does():
    bench = Bench()
    engine = EngineSettings()
    await bench.follow(a_plan(revision=1, spec=ServingSpec(engine=engine)))
    light = replace(engine, batching=Batching(off=True), queue=QueueLimits(5), warm_up=WarmUp((7,)))
    await bench.follow(a_plan(revision=2, spec=ServingSpec(engine=light, max_rows=9)))
    assert bench.loader.loads == [4]
    for revision, opening in enumerate((Opening(2), Opening(2, 2), Opening(2, 2, Optimization.BASIC)), 3):
        await bench.follow(a_plan(revision=revision, spec=ServingSpec(engine=replace(light, opening=opening))))
        assert len(bench.loader.loads) == revision - 1
        assert bench.revision == revision
