"""The ledger's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from gyrostat_common import database
from gyrostat_trainer.domain.episodes import CONFIRMED, RESOLVED, Episode
from gyrostat_trainer.domain.errors import RunUnknown
from gyrostat_trainer.domain.runs import (
    CANCELLED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    DatasetFacts,
    Decision,
    Gate,
    Run,
    Snapshot,
)
from gyrostat_trainer.domain.spec import TrainingSpec
from gyrostat_trainer.store import Ledger


@pytest.fixture(params=["sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    url = f"sqlite+aiosqlite:///{tmp_path}/t.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    async with database.open(str(url), "gyrostat_trainer.migrations") as db:
        yield Ledger(db)


def a_run(number: int, **fields: object) -> Run:
    usual = Run(
        id=f"run-{number}",
        model="m",
        environment="production",
        cause=f"ep-{number}",
        causes=(f"ep-{number}",),
        correlation_id=f"ep-{number}",
        spec=TrainingSpec(slices=("origin",)),
        created_by="ann",
        created_at_us=number,
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def an_episode(name: str, **fields: object) -> Episode:
    usual = Episode(name, "production", "m", 1, "performance", CONFIRMED, 1, None, 2, "e", name, features=("a",))
    return replace(usual, **fields)  # type: ignore[arg-type]


async def test_a_run_comes_back_as_it_was_saved(ledger: Ledger) -> None:
    await ledger.add_run(a_run(1))
    full = a_run(
        1,
        status=SUCCEEDED,
        snapshot=Snapshot({"t": 3}, "f", "ab" * 32, 5, 1, 2, {"s": 9}, ("gap",)),
        gates=(Gate("quality", {"loss": 0.5}),),
        metrics={"a": 1.0},
        cost={"cpu_s": 2.0},
        version=4,
    )
    await ledger.save_run(full)
    assert await ledger.run("run-1") == full
    assert await ledger.run_of_cause("ep-1") == full
    with pytest.raises(RunUnknown):
        await ledger.run("run-2")


async def test_a_cause_has_one_run_whatever_happens(ledger: Ledger) -> None:
    await ledger.add_run(a_run(1))
    with pytest.raises(IntegrityError):
        await ledger.add_run(a_run(2, cause="ep-1"))
    assert len(await ledger.runs("m", 10, "")) == 1


async def test_the_worker_takes_up_what_is_running_before_what_is_queued(ledger: Ledger) -> None:
    for number, status in ((1, SUCCEEDED), (2, QUEUED), (3, RUNNING), (4, QUEUED)):
        await ledger.add_run(a_run(number, status=status))
    found = await ledger.next_run()
    assert found is not None
    assert found.id == "run-3"
    await ledger.save_run(replace(found, status=SUCCEEDED))
    then = await ledger.next_run()
    assert then is not None
    assert then.id == "run-2"


async def test_a_run_held_back_neither_takes_causes_nor_starts_a_cool_down(ledger: Ledger) -> None:
    await ledger.add_run(a_run(1, hold=True, watermark_us=50))
    assert await ledger.open_run("m", "production") is None
    assert await ledger.trainings_us("m", "production") == ()
    await ledger.add_run(a_run(2, watermark_us=60))
    await ledger.add_run(a_run(3, watermark_us=70, status=CANCELLED))
    assert await ledger.trainings_us("m", "production") == (60,)
    assert await ledger.open_run("m", "staging") is None


async def test_pages_go_back_in_time_without_gaps_or_repeats(ledger: Ledger) -> None:
    for number in range(1, 8):
        await ledger.add_run(a_run(number, created_at_us=number // 2))
    seen: list[str] = []
    token = ""
    while page := await ledger.runs("m", 3, token):
        seen += [run.id for run in page]
        token = page[-1].id
    assert sorted(seen) == sorted(f"run-{n}" for n in range(1, 8))
    assert seen[0] == "run-7"


async def test_a_step_in_the_journal_stays_with_its_result(ledger: Ledger) -> None:
    await ledger.save_step("run-1", "fit", {"a": 1}, 5)
    await ledger.save_step("run-1", "fit", {"a": 2}, 6)
    assert await ledger.steps("run-1") == {"fit": {"a": 2}}
    assert await ledger.steps("run-2") == {}


async def test_what_is_done_in_a_transaction_that_fails_was_not_done(ledger: Ledger) -> None:
    async def fail() -> None:
        async with ledger.transaction():
            await ledger.add_run(a_run(1))
            await ledger.save_episode(an_episode("a"))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    assert await ledger.runs("", 10, "") == []
    assert await ledger.episode("a") is None


async def test_episodes_are_found_by_state_and_kind(ledger: Ledger) -> None:
    await ledger.save_episode(an_episode("a", attempts=2, run_id="r"))
    await ledger.save_episode(an_episode("b", state=RESOLVED))
    await ledger.save_episode(an_episode("c", kind="data_quality"))
    await ledger.save_episode(an_episode("d", model="other"))
    assert await ledger.episode("a") == an_episode("a", attempts=2, run_id="r")
    assert [e.id for e in await ledger.open_episodes("m", "production")] == ["a", "c"]
    assert [e.id for e in await ledger.data_quality_episodes("m", "production")] == ["c"]
    assert sorted(await ledger.models_with_open_episodes()) == [("m", "production"), ("other", "production")]


async def test_a_watermark_never_goes_back(ledger: Ledger) -> None:
    assert await ledger.watermark_us("m", "production") is None
    assert await ledger.raise_watermark("m", "production", 10) == 10
    assert await ledger.raise_watermark("m", "production", 5) == 10
    assert await ledger.watermark_us("m", "production") == 10


async def test_decisions_are_numbered_and_listed_newest_first(ledger: Ledger) -> None:
    for n in range(5):
        await ledger.add_decision(Decision(f"ep-{n}", "m", "production", "wait", "because", 1, n))
    first = await ledger.decisions("m", 3, 0)
    rest = await ledger.decisions("m", 3, first[-1].number)
    assert [d.cause for d in (*first, *rest)] == ["ep-4", "ep-3", "ep-2", "ep-1", "ep-0"]


async def test_an_end_is_reported_once(ledger: Ledger) -> None:
    await ledger.add_run(a_run(1, status=SUCCEEDED))
    await ledger.add_run(a_run(2))
    assert [run.id for run in await ledger.unreported()] == ["run-1"]
    await ledger.mark_reported("run-1")
    assert await ledger.unreported() == []


async def test_an_import_is_remembered_as_it_was_done(ledger: Ledger) -> None:
    first, second = DatasetFacts("d", 0, 10, "/x", 1), DatasetFacts("d", 1, 20, "/x", 2)
    for request, facts in (("r1", first), ("r2", second)):
        await ledger.save_dataset(facts)
        await ledger.save_import(request, "ab", facts)
    assert await ledger.imported("r1") == ("ab", first)
    assert await ledger.imported("r3") is None
    assert await ledger.datasets() == [second]
