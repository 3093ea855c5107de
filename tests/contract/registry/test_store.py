"""What the store promises, on both engines."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from gyrostat_common.database import Database
from gyrostat_registry.domain.errors import ModelExists, ModelNotFound, RunExists
from gyrostat_registry.domain.evidence import Promotion, Replica
from gyrostat_registry.domain.paging import Page
from gyrostat_registry.domain.plan import Change, Plan
from gyrostat_registry.domain.rollout import Rollout, State
from gyrostat_registry.domain.run import Run
from gyrostat_registry.domain.spec import Mode, ModelSpec, Task, settled
from gyrostat_registry.domain.version import Artifact, Model, Signature, Version
from gyrostat_registry.store import Store
from gyrostat_registry.store.tables import metadata

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = replace(settled(ModelSpec(task=Task.BINARY)), revision=1)
MINUTE = timedelta(minutes=1)


def a_version(number: int, model: str = "flights") -> Version:
    return Version(model, number, Artifact("0" * 64, 10, "file:///x"), Signature(), NOON, "ann")


def a_plan(revision: int, model: str = "flights", environment: str = "production") -> Plan:
    return Plan(environment, model, revision, NOON + revision * MINUTE, SPEC)


def a_rollout(name: str, state: State, version: int = 2) -> Rollout:
    return Rollout(name, "production", "flights", version, state, "registry", NOON)


@pytest.fixture
async def store(db: Database) -> Store:
    store = Store(db)
    async with store.transaction() as tx:
        await tx.add_model(Model("flights", NOON, "ann"), SPEC)
    return store


async def test_the_migrations_make_the_tables_that_the_statements_use(db: Database) -> None:
    async with db.reading() as connection:
        columns = await connection.run_sync(
            lambda sync: {
                name: {column["name"] for column in inspect(sync).get_columns(name)} for name in metadata.tables
            }
        )
    assert columns == {name: set(table.columns.keys()) for name, table in metadata.tables.items()}


async def test_versions_are_numbered_without_gaps_by_concurrent_writers(store: Store) -> None:
    class Broken(Exception):
        pass

    async def register(attempt: int) -> None:
        async with store.transaction() as tx:
            number = await tx.next_version("flights")
            await tx.add_version(a_version(number))
            if attempt % 3 == 0:
                raise Broken

    results = await asyncio.gather(*(register(n) for n in range(30)), return_exceptions=True)
    assert sum(isinstance(result, Broken) for result in results) == 10
    assert all(result is None or isinstance(result, Broken) for result in results)
    async with store.reading() as tx:
        numbers = [version.number for version in (await tx.versions("flights", Page())).rows]
    assert numbers == list(range(20, 0, -1))


async def test_names_are_taken_once(store: Store) -> None:
    with pytest.raises(ModelExists):
        async with store.transaction() as tx:
            await tx.add_model(Model("flights", NOON, "bob"), SPEC)
    async with store.transaction() as tx:
        await tx.add_run(Run("r1", "flights", "running"))
        with pytest.raises(RunExists):
            await tx.add_run(Run("r1", "flights", "running"))
        with pytest.raises(ModelNotFound):
            await tx.lock_model("nobody")
        with pytest.raises(ModelNotFound):
            await tx.next_version("nobody")
        assert not await tx.add_environment("production", "")


@pytest.mark.parametrize("states", [(State.SHADOW, State.GUARD), (State.PROPOSED, State.WAITING)])
async def test_the_database_itself_allows_one_open_rollout(store: Store, states: tuple[State, State]) -> None:
    async with store.transaction() as tx:
        await tx.save_rollout(a_rollout("a", states[0]))
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.save_rollout(a_rollout("b", states[1]))


async def test_rollouts_by_state_and_page(store: Store) -> None:
    async with store.transaction() as tx:
        for n in range(5):
            await tx.save_rollout(a_rollout(f"r{n}", State.SUPERSEDED))
        await tx.save_rollout(a_rollout("now", State.CANARY))
        await tx.save_rollout(a_rollout("next", State.WAITING, 3))
        assert (await tx.active_rollout("production", "flights")) == a_rollout("now", State.CANARY)
        assert (await tx.queued_rollout("production", "flights")) == a_rollout("next", State.WAITING, 3)
        assert await tx.active_rollout("staging", "flights") is None
        first = await tx.rollouts("flights", False, Page(3))
        rest = await tx.rollouts("", False, Page(10, first.last))
        assert [r.id for r in first.rows + rest.rows] == ["next", "now", "r4", "r3", "r2", "r1", "r0"]
        assert rest.last == ""
        assert {r.id for r in (await tx.rollouts("flights", True, Page())).rows} == {"now", "next"}


async def test_plans_now_and_then(store: Store) -> None:
    async with store.transaction() as tx:
        for revision in (1, 2, 3):
            await tx.add_plan(a_plan(revision))
        await tx.add_plan(a_plan(1, environment="staging"))
        assert (await tx.plan("production", "flights")) == a_plan(3)
        assert (await tx.plan("production", "flights", NOON + 2.5 * MINUTE)) == a_plan(2)
        assert await tx.plan("production", "flights", NOON) is None
        assert await tx.revisions() == {("production", "flights"): 3, ("staging", "flights"): 1}
        assert await tx.plans_between("production", "flights", 1, 3) == (a_plan(2), a_plan(3))
        assert (await tx.plan_history("production", "flights", Page(2))).last == "2"
        assert (await tx.plans_in_force("production", Page())).rows == (a_plan(3),)
        assert len(await tx.plans_of("flights")) == 2
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.add_plan(a_plan(3))


async def test_promotions_watermarks_switches_and_replicas(store: Store) -> None:
    def promotion(after: int, automatic: bool) -> Promotion:
        return Promotion(
            "production", "flights", Change.PROMOTED, after - 1, after, after, "", "", "registry", NOON,
            automatic=automatic,
        )  # fmt: skip

    async with store.transaction() as tx:
        for after, automatic in ((1, True), (2, False), (3, True)):
            await tx.add_promotion(promotion(after, automatic))
        found = await tx.automatic_promotions("production", "flights", 5)
        assert [one.version_after for one in found] == [3, 1]
        assert sorted(await tx.champions_ever("flights")) == [1, 2, 3]
        assert len(await tx.promotions_of("flights", 2)) == 2
        for at in (NOON, NOON - MINUTE):
            await tx.raise_watermark("production", "flights", at)
        assert await tx.watermark("production", "flights") == NOON
        assert await tx.switch() is Mode.ON
        await tx.save_switch(Mode.OFF)
        assert await tx.switch() is Mode.OFF
        for at, payload in ((NOON, b"new"), (NOON - MINUTE, b"old")):
            await tx.save_replica(Replica("one", "production", at, payload))
        assert [replica.payload for replica in await tx.replicas("production")] == [b"new"]
        await tx.forget_replicas(NOON + MINUTE)
        assert await tx.replicas("production") == ()


async def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    async def fail() -> None:
        async with store.transaction() as tx:
            await tx.add_plan(a_plan(1))
            await tx.set_alias("flights", "v1", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with store.reading() as tx:
        assert await tx.plan("production", "flights") is None
        assert await tx.aliases("flights") == {}
