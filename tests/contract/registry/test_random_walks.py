"""Whatever people, pipelines and verdicts do in whatever order, what must hold about plans and promotions holds."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from gyrostat_common import database
from gyrostat_common.clock import FixedClock
from gyrostat_common.database import Database
from gyrostat_common.errors import WrongState
from gyrostat_common.ids import CountingIds
from gyrostat_registry.app import wired
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.evidence import Judgement, Promotion
from gyrostat_registry.domain.paging import Page
from gyrostat_registry.domain.plan import Change, Phase
from gyrostat_registry.domain.rollout import ACTIVE, QUEUED, State, Verdict
from gyrostat_registry.domain.spec import Mode, ModelSpec, Task
from gyrostat_registry.domain.version import Artifact, GateResult, Signature, TensorSpec
from gyrostat_registry.events.heard import PlanMirror
from gyrostat_registry.settings import Settings
from gyrostat_registry.store import Store
from gyrostat_registry.usecases.cases import Cases
from gyrostat_registry.usecases.versions import Registration
from support.registry import EVENT_TIME, NOON

SHA256 = "a" * 64
ANN = Caller("ann")
MODES = (Mode.ON, Mode.ON, Mode.PROPOSE, Mode.OFF)
STEPS = 60


class Walk:
    """One random history of one model."""

    def __init__(self, seed: int, cases: Cases, store: Store, clock: FixedClock) -> None:
        self.random = random.Random(seed)
        self.cases, self.store, self.clock = cases, store, clock
        self.versions = 0
        self.event_time = EVENT_TIME
        self.verdicts = 0

    async def begin(self) -> None:
        signature = Signature((TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("p", "FP32", (-1, 1)),))
        async with self.store.transaction() as tx:
            await tx.add_artifact(Artifact(SHA256, 10, "file:///x"))
            await tx.save_signature(SHA256, signature)
        await self.cases.catalogue.create(ANN, "m", ModelSpec(task=Task.BINARY, autopilot=Mode.ON))

    async def step(self) -> None:
        self.clock.advance(timedelta(seconds=1))
        self.event_time += timedelta(hours=self.random.choice((0, 1, 30, 200)))
        moves = (self.judge, self.judge, self.judge, self.register, self.by_person, self.autopilot)
        try:
            await self.random.choice(moves)()
        except WrongState:
            return

    async def register(self) -> None:
        passed = self.random.random() < 0.8
        measured = (GateResult(name, not_measured="not here") for name in ("parity", "calibration", "latency", "size"))
        gates = (*measured, GateResult("quality", {"loss_delta_upper": -1.0 if passed else 1.0}))
        said = Registration("m", SHA256, gates=gates, event_time=self.event_time)
        view, _ = await self.cases.versions.register(Caller("trainer"), said)
        self.versions = view.version.number

    async def judge(self) -> None:
        async with self.store.reading() as tx:
            plan = await tx.plan("production", "m")
        if plan is None or plan.phase is Phase.NONE:
            return
        self.verdicts += 1
        verdict = self.random.choice((Verdict.ADVANCE, Verdict.ADVANCE, Verdict.CONTINUE, Verdict.ROLL_BACK))
        revision = plan.revision - self.random.choice((0, 0, 0, 1))
        judgement = Judgement(
            f"e{self.verdicts}", plan.rollout_id, "production", "m", plan.judge_version, plan.judge_baseline, revision,
            verdict, self.event_time, NOON,
        )  # fmt: skip
        await self.cases.rollouts.judged(judgement, Caller("registry", causation_id=judgement.event_id))

    async def by_person(self) -> None:
        if not self.versions:
            return
        number, champions = self.random.randint(1, self.versions), self.cases.champions
        match self.random.randrange(7):
            case 0:
                await champions.promote(
                    ANN, "", "m", number, reason="r", force=True, expected_revision=0, event_time=self.event_time
                )
            case 1:
                await champions.roll_back(ANN, "", "m", reason="r", expected_revision=0)
            case 2:
                await champions.retire(ANN, "", "m", "r")
            case 3:
                await champions.pin(ANN, "", "m", number, self.random.random() < 0.7)
            case 4:
                await self.cases.rollouts.start(ANN, "", "m", number, "r")
            case 5:
                await self.cases.versions.archive(ANN, "m", number)
            case _:
                for rollout in (await self.cases.rollouts.list("m", True, Page())).rows:
                    if rollout.state is State.PROPOSED:
                        await self.cases.rollouts.approve(ANN, rollout.id, "r")

    async def autopilot(self) -> None:
        await self.cases.autopilot.set(ANN, self.random.choice(("m", "m", "")), self.random.choice(MODES), "r")

    async def check(self) -> None:
        async with self.store.reading() as tx:
            plans = list(reversed((await tx.plan_history("production", "m", Page(1000))).rows))
            rollouts = (await tx.rollouts("m", False, Page(1000))).rows
            promotions: list[Promotion] = []
            for number in range(1, self.versions + 1):
                promotions += await tx.promotions_of("m", number)
            archived = {v.number for v in (await tx.versions("m", Page(1000))).rows if v.archived}
        assert [plan.revision for plan in plans] == list(range(1, len(plans) + 1))
        changes = sorted({one.plan_revision: one for one in promotions}.items())
        champion = 0
        by_revision = dict(changes)
        for plan in plans:
            change = by_revision.get(plan.revision)
            after = plan.lineup.champion
            assert (change is not None) == (after != champion), "every change of champion is news, and nothing else is"
            if change is not None:
                assert (change.version_before, change.version_after) == (champion, after)
                assert (change.change is Change.RETIRED) == (after == 0)
            champion = after
            judged = plan.phase is not Phase.NONE
            assert judged == bool(plan.judge_version) == bool(plan.rollout_id)
            assert after != 0 or not plan.shadows
        active = [rollout for rollout in rollouts if rollout.state in ACTIVE]
        assert len(active) <= 1
        assert len([rollout for rollout in rollouts if rollout.state in QUEUED]) <= 1
        if plans:
            assert (plans[-1].rollout_id or None) == (active[0].id if active else None)
            assert not archived & plans[-1].numbers


@pytest.mark.parametrize("seed", range(8))
async def test_a_random_history_keeps_its_promises(seed: int, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/registry.db"
    settings = Settings(data={"folder": tmp_path}, database_url=url)  # type: ignore[arg-type]
    async with database.open(url, migrations="gyrostat_registry.migrations") as db:
        await walk(seed, settings, db)


async def walk(seed: int, settings: Settings, db: Database) -> None:
    clock = FixedClock(NOON)
    one = Walk(seed, wired(settings, db, clock, CountingIds(), PlanMirror()).cases, Store(db), clock)
    await one.begin()
    for _ in range(STEPS):
        await one.step()
        await one.check()
