"""Several processes as one replica: who gets a connection, what is in force, who hangs, what they counted together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.domain.counters import Counters, Spent
from gyrostat_inference.domain.crew import (
    Handed,
    Load,
    ModelState,
    applied_by_all,
    hung,
    joined,
    least_loaded,
    next_revision,
    restart_after_s,
    served_by_all,
    total,
)
from gyrostat_inference.domain.live import Applied


def a_state(revision: int, tried: int | None = None, ready: bool = True, *rows: Applied) -> ModelState:
    own = rows or (Applied("flights", revision, revision, True),)
    return ModelState("flights", revision, revision if tried is None else tried, ready, own)


@given(st.lists(st.integers(0, 63), max_size=64), st.integers(1, 8))
def test_connections_of_equal_weight_are_spread_evenly_whatever_ends(ends: list[int], workers: int):
    """64 connections one after the other, some of which end: no worker has two more than it would need to."""
    open_now = dict.fromkeys(range(workers), 0)
    for step in range(64):
        if step in ends and max(open_now.values()):
            open_now[max(open_now, key=lambda n: open_now[n])] -= 1
        first = least_loaded({n: Load(connections=count) for n, count in open_now.items()})[0]
        open_now[first] += 1
    assert max(open_now.values()) - min(open_now.values()) <= 1


def test_who_has_the_fewest_open_streams_gets_the_next_connection():
    assert least_loaded({0: Load(streams=64, connections=1), 1: Load(streams=2, connections=2)}) == [1, 0]
    assert least_loaded({0: Load(streams=3, connections=1), 1: Load(streams=3, connections=2)}) == [0, 1]


def test_what_was_given_counts_before_the_worker_says_so():
    assert least_loaded({0: Load(given=1), 1: Load()}) == [1, 0]
    assert least_loaded({0: Load(streams=1, connections=1), 1: Load(given=2)}) == [0, 1]


def test_an_idle_connection_counts_as_one_stream():
    assert least_loaded({0: Load(streams=1, connections=10), 1: Load(streams=2, connections=2)}) == [1, 0]


@pytest.mark.parametrize(
    ("handed", "given", "tried", "wanted"),
    [
        (Handed(0, 5), 0, 0, 5),  # nothing is in force: the newest
        (Handed(4, 5), 0, 0, 4),  # a new worker begins with what the others serve,
        (Handed(4, 5), 4, 0, None),  # works on it,
        (Handed(4, 5), 4, 4, 5),  # and then gets the newest
        (Handed(4, 5), 5, 4, None),
        (Handed(4, 6), 5, 4, 6),  # a newer one while it loads
        (Handed(5, 5), 5, 5, None),
    ],
)
def test_which_plan_a_worker_gets_next(handed: Handed, given: int, tried: int, wanted: int | None):
    state = a_state(tried, tried) if tried else None
    assert next_revision(handed, given, state) == wanted


def test_a_revision_is_served_when_every_worker_serves_it():
    assert served_by_all([]) == {}
    assert served_by_all([{"flights": a_state(5)}, {}]) == {}
    assert served_by_all([{"flights": a_state(5)}, {"flights": a_state(4, tried=5)}]) == {"flights": 4}
    assert served_by_all([{"flights": a_state(5)}, {"flights": a_state(5)}]) == {"flights": 5}


def test_a_worker_has_caught_up_when_it_has_worked_on_all_that_is_in_force():
    handed = {"flights": Handed(4, 5), "trains": Handed(0, 1)}
    assert not joined(handed, {})
    assert not joined({"flights": Handed(4, 5)}, {"flights": a_state(0, tried=3)})
    assert joined(handed, {"flights": a_state(4)}), "nobody serves trains yet"


def test_what_one_worker_cannot_load_is_not_loaded_and_says_where():
    bad = Applied("flights", 6, 6, False, "no memory")
    held = a_state(5, 6, True, Applied("flights", 5, 5, True), bad)
    rows = applied_by_all({0: {"flights": a_state(6)}, 1: {"flights": held}})
    assert rows == [
        Applied("flights", 5, 5, True),
        Applied("flights", 6, 6, False, "worker 1: no memory"),
    ]


def test_a_plan_that_some_still_load_is_not_told_yet():
    rows = applied_by_all({0: {"flights": a_state(6)}, 1: {"flights": a_state(5)}})
    assert rows == [Applied("flights", 5, 5, True)]


def test_silence_is_a_hang_only_when_somebody_listened():
    assert not hung(29.0, 0.5, 30.0)
    assert hung(31.0, 0.5, 30.0)
    assert not hung(3000.0, 3000.0, 30.0)  # the machine slept


def test_a_worker_that_keeps_ending_waits_longer_and_one_that_lived_does_not():
    waits = [restart_after_s([0.1] * times) for times in range(1, 12)]
    assert waits[0] == 0.2
    assert waits == sorted(waits)
    assert waits[-1] == 30.0
    assert restart_after_s([0.1] * 8 + [3600.0]) == 0.2


def test_counters_of_several_processes_are_one():
    one, other = Counters(), Counters()
    one.ran(1, 10)
    one.ran(8, 50)
    other.ran(8, 70)
    one.success.add(100)
    other.last_inference_ms, one.last_inference_ms = 5, 9
    other.slow = True
    whole = total([one, other])
    assert (whole.inferences, whole.executions) == (17, 3)
    assert whole.batches == {1: Spent(1, 10), 8: Spent(2, 120)}
    assert whole.success == Spent(1, 100)
    assert (whole.last_inference_ms, whole.slow) == (9, True)
    assert one.batches == {1: Spent(1, 10), 8: Spent(1, 50)}, "the parts stay as they are"
