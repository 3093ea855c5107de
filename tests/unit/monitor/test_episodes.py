"""Episodes: opened, confirmed, told again while bad, resolved with hysteresis; ids that a restart repeats."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gyrostat_monitor.domain.episodes import Observed, State, episode_id, step, superseded
from gyrostat_monitor.domain.findings import Finding, Kind
from gyrostat_monitor.domain.windows import Span
from gyrostat_monitor.store import bodies

BAD, CALM, NEITHER = (True, False), (False, True), (False, False)


def play(windows, confirm=2):
    episode, told = None, []
    for i, (bad, calm) in enumerate(windows):
        seen = Observed(
            Span(i * 10, i * 10 + 10), 100, i * 10 + 12, Finding(Kind.DATA, bad, calm, 0.5, 0.2, (), f"w{i}")
        )
        episode, states = step(episode, seen, "m", 3, "production", confirm)
        told += [(s.state, s.window.start_us, s.id) for s in states]
    return episode, told


def test_opened_confirmed_told_again_resolved():
    episode, told = play([CALM, BAD, BAD, BAD, CALM, NEITHER, CALM, CALM, CALM])
    assert episode is None
    assert [(s, at) for s, at, _ in told] == [
        (State.OPENED, 10), (State.CONFIRMED, 20), (State.CONFIRMED, 30), (State.RESOLVED, 70)
    ]  # fmt: skip
    assert {i for _, _, i in told} == {episode_id("m", 3, Kind.DATA, 10)}


def test_a_blip_resolves_without_being_confirmed():
    assert [s for s, _, _ in play([BAD, CALM, CALM])[1]] == [State.OPENED, State.RESOLVED]
    assert [s for s, _, _ in play([BAD, NEITHER, BAD, NEITHER])[1]] == [State.OPENED]


def test_one_window_is_enough_when_the_policy_says_so():
    assert [s for s, _, _ in play([BAD, CALM], confirm=1)[1]] == [State.OPENED, State.CONFIRMED, State.RESOLVED]


@given(st.lists(st.sampled_from([BAD, CALM, NEITHER]), max_size=40), st.integers(1, 3))
def test_every_story_is_well_told(windows, confirm):
    open_, last = None, None
    for state, _, id_ in play(windows, confirm)[1]:
        if state is State.OPENED:
            assert open_ is None
            open_ = id_
        else:
            assert open_ == id_
            assert state is not State.RESOLVED or last is not State.RESOLVED
        if state is State.RESOLVED:
            open_ = None
        last = state


def test_ids_name_model_version_kind_and_start():
    one = episode_id("m", 3, Kind.DATA, 10)
    assert one == episode_id("m", 3, Kind.DATA, 10)
    others = {episode_id("n", 3, Kind.DATA, 10), episode_id("m", 4, Kind.DATA, 10), episode_id("m", 3, Kind.DATA, 11),
              episode_id("m", 3, Kind.PERFORMANCE, 10), episode_id("m", 3, Kind.DATA, 10, "staging")}  # fmt: skip
    assert len(others | {one}) == 6


def test_an_episode_survives_the_store():
    episode, _ = play([BAD, BAD])
    assert episode is not None
    assert bodies.episode(bodies.episode_text(episode)) == episode
    gone = superseded(episode, 5, "left")
    assert gone.state is State.SUPERSEDED
    assert not gone.open
    assert gone.ended_us == max(5, episode.started_us)
    assert gone.event_id() != episode.event_id()
    assert replace(episode, state=State.CONFIRMED).severity_word == "warning"
