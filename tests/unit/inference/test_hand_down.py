"""Plans on their way to workers, and what the replica says of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_common.errors import Unavailable
from gyrostat_inference.domain.crew import ModelState
from gyrostat_inference.domain.live import Applied
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.usecases.hand_down import HandDown


@dataclass
class Desk:
    """A HandDown with workers that are played by the test."""

    cached: list[int] = field(default_factory=list)
    given: list[tuple[int, int]] = field(default_factory=list)
    served_by: list[tuple[int, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    disk_full: bool = False

    def __post_init__(self) -> None:
        self.handing = HandDown(lambda number, raw: self.given.append((number, int(raw))), self, self, lambda: None)

    def read(self) -> list[tuple[Plan, bytes]]:
        return [(a_plan(revision), b"%d" % revision) for revision in self.cached]

    def write(self, plan: Plan, raw: bytes) -> None:
        if self.disk_full:
            raise Unavailable("full")
        self.cached = [plan.revision]

    def served(self, plan: Plan, workers: int) -> None:
        self.served_by.append((plan.revision, workers))

    def not_cached(self, plan: Plan, reason: str) -> None:
        self.lost.append(reason)

    async def plan(self, revision: int) -> None:
        await self.handing.follow(a_plan(revision), b"%d" % revision)

    def says(self, number: int, serves: int, tried: int = 0, failed: str = "", not_ready: str | None = None) -> None:
        rows = [Applied("flights", serves, serves, True)] if serves else []
        if failed:
            rows.append(Applied("flights", tried, tried, False, failed))
        state = ModelState("flights", serves, max(tried, serves), not_ready is None, tuple(rows))
        self.handing.heard(number, [state], not_ready)


def a_plan(revision: int) -> Plan:
    return Plan("production", "flights", revision)


async def test_a_plan_goes_to_all_and_is_in_force_and_cached_when_all_serve_it():
    desk = Desk()
    desk.handing.came(0)
    desk.handing.came(1)
    await desk.plan(5)
    assert desk.given == [(0, 5), (1, 5)]
    desk.says(0, 5)
    assert (desk.handing.revisions(), desk.cached) == ({}, [])
    desk.says(1, 5)
    assert (desk.handing.revisions(), desk.cached, desk.served_by) == ({"flights": 5}, [5], [(5, 2)])


async def test_a_new_worker_first_gets_what_is_in_force_and_then_the_newest():
    desk = Desk()
    desk.handing.came(0)
    await desk.plan(4)
    desk.says(0, 4)
    await desk.plan(5)
    desk.says(0, 4, tried=5, failed="damaged")
    desk.given.clear()
    desk.handing.came(1)
    assert desk.given == [(1, 4)]
    assert desk.handing.answering() == [0], "it serves nothing yet"
    desk.says(1, 4)
    assert desk.given == [(1, 4), (1, 5)]
    assert desk.handing.answering() == [0, 1]
    assert desk.handing.revisions() == {"flights": 4}


async def test_a_worker_that_is_gone_holds_nobody_up():
    desk = Desk()
    desk.handing.came(0)
    desk.handing.came(1)
    await desk.plan(5)
    desk.says(0, 5)
    desk.handing.left(1)
    assert (desk.handing.revisions(), desk.cached) == ({"flights": 5}, [5])


async def test_a_restart_of_a_worker_takes_no_revision_back():
    desk = Desk()
    for number in (0, 1):
        desk.handing.came(number)
    await desk.plan(5)
    for number in (0, 1):
        desk.says(number, 5)
    desk.handing.left(1)
    desk.handing.came(1)
    assert desk.handing.revisions() == {"flights": 5}
    assert desk.handing.not_ready() is None
    desk.says(1, 0, tried=4, not_ready="flights:5 (champion) is not loaded")
    assert desk.handing.answering() == [0]


async def test_what_one_cannot_load_is_reported_and_the_old_revision_stays():
    desk = Desk()
    for number in (0, 1):
        desk.handing.came(number)
    await desk.plan(4)
    for number in (0, 1):
        desk.says(number, 4)
    await desk.plan(5)
    desk.says(0, 5)
    desk.says(1, 4, tried=5, failed="no memory")
    assert desk.handing.revisions() == {"flights": 4}
    assert desk.cached == [4]
    assert desk.handing.problem() == "not loaded: flights:5 of plan revision 5: worker 1: no memory"
    assert not desk.handing.busy


async def test_a_plan_without_its_champion_anywhere_is_not_in_force():
    desk = Desk()
    desk.handing.came(0)
    await desk.plan(1)
    desk.says(0, 1, failed="damaged", not_ready="flights:1 (champion) is not loaded: damaged")
    assert desk.cached == []
    assert desk.handing.not_ready() == "worker 0: flights:1 (champion) is not loaded: damaged"


async def test_it_begins_with_the_plans_of_the_last_run():
    desk = Desk(cached=[7])
    await desk.handing.restore()
    desk.handing.awaited([0])
    assert desk.handing.busy
    assert desk.handing.not_ready() == "no worker runs"
    await desk.plan(6)
    desk.handing.came(0)
    assert desk.given == [(0, 7)], "an older revision changes nothing"
    desk.says(0, 7)
    assert (desk.handing.restored, desk.handing.busy, desk.handing.revisions()) == (1, False, {"flights": 7})


async def test_a_full_disk_keeps_no_plan_from_being_served():
    desk = Desk(disk_full=True)
    desk.handing.came(0)
    await desk.plan(1)
    desk.says(0, 1)
    assert (desk.handing.revisions(), desk.lost) == ({"flights": 1}, ["full"])


@dataclass
class Play:
    """Workers that come, work on what they were given in their own time, and die."""

    desk: Desk = field(default_factory=Desk)
    newest: int = 0
    lives: dict[int, list[int]] = field(default_factory=dict)  # worker → [where its given begin, what it serves]

    async def plan(self, _: int) -> None:
        self.newest += 1
        await self.desk.plan(self.newest)

    async def come(self, number: int) -> None:
        if number not in self.lives:
            self.lives[number] = [len(self.desk.given), 0]
            self.desk.handing.came(number)

    async def die(self, number: int) -> None:
        if self.lives.pop(number, None):
            self.desk.handing.left(number)

    async def work(self, number: int) -> None:
        """It works on the next plan that it was given."""
        if number in self.lives:
            since, serves = self.lives[number]
            taken = [revision for to, revision in self.desk.given[since:] if to == number]
            assert taken == sorted(set(taken)), "each once, and never an older one"
            ahead = [revision for revision in taken if revision > serves]
            if ahead:
                self.lives[number][1] = ahead[0]
                self.desk.says(number, ahead[0])


STEPS = st.lists(st.tuples(st.sampled_from(["plan", "work", "work", "die", "come"]), st.integers(0, 2)), max_size=80)


@settings(max_examples=150, deadline=None)
@given(STEPS)
async def test_no_life_of_a_worker_sees_revisions_go_backwards_and_all_get_the_newest(steps: list[tuple[str, int]]):
    play = Play()
    for what, number in steps:
        await getattr(play, what)(number)
        served = play.desk.handing.revisions().get("flights", 0)
        assert all(play.lives[n][1] >= served for n in play.desk.handing.answering())
    for _ in range(play.newest + 1):
        for number in play.lives:
            await play.work(number)
    if play.lives and play.newest:
        assert play.desk.handing.revisions() == {"flights": play.newest}
