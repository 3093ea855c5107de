"""The roll-out state machine: every state against every move, and what holds after any sequence of moves."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_registry.domain.errors import IllegalMove
from gyrostat_registry.domain.plan import Lineup, Phase, cast, change_between, lineup_after
from gyrostat_registry.domain.rollout import (
    ACTIVE,
    OVER,
    QUEUED,
    Moment,
    Move,
    Rollout,
    State,
    Verdict,
    decide,
)
from gyrostat_registry.domain.spec import Mode, ModelSpec, RolloutPolicy, Task, settled

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGIN = datetime(2013, 3, 1, tzinfo=UTC)
POLICY = settled(ModelSpec(task=Task.BINARY)).rollout
DAY = timedelta(days=1)


def moment(days: float = 0.0, actor: str = "registry", reason: str = "because") -> Moment:
    return Moment(NOON, BEGIN + days * DAY, actor, reason)


def a_rollout(state: State = State.WAITING, **changes: object) -> Rollout:
    rollout = Rollout(
        id="r1", environment="production", model="flights", version=5, state=state, actor="registry", created_at=NOON,
        from_version=4, from_fallback=3, weight=10_000 if state is State.GUARD else 100 if state is State.CANARY else 0,
        started_event_time=BEGIN, step_event_time=BEGIN, automatic=True,
    )  # fmt: skip
    return replace(rollout, **changes)  # type: ignore[arg-type]


MOVES: dict[str, tuple[frozenset[State], Callable[[Rollout], Rollout]]] = {
    "propose": (QUEUED, lambda r: replace(r, steps=(_any_step(r),)).queued(State.PROPOSED, moment())),
    "wait": (QUEUED, lambda r: replace(r, steps=(_any_step(r),)).queued(State.WAITING, moment())),
    "approve": (frozenset({State.PROPOSED}), lambda r: r.approved(moment(actor="ann"))),
    "start": (QUEUED, lambda r: r.started(4, 3, moment())),
    "jump": (QUEUED, lambda r: r.jumped(4, 3, moment())),
    "advance": (ACTIVE, lambda r: r.advanced(POLICY, moment())),
    "roll_back": (ACTIVE, lambda r: r.rolled_back(moment())),
    "supersede": (QUEUED | {State.SHADOW, State.CANARY}, lambda r: r.superseded(moment())),
    "end_early": (QUEUED | ACTIVE, lambda r: r.ended_early(moment())),
}


def _any_step(rollout: Rollout):  # type: ignore[no-untyped-def]
    return rollout._moved(rollout.state, rollout.weight, moment()).steps[-1]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("name", list(MOVES))
def test_every_move_is_possible_exactly_where_it_should_be(state: State, name: str) -> None:
    allowed, move = MOVES[name]
    rollout = a_rollout(state)
    if state in allowed:
        assert move(rollout).steps[-1].reason == "because"
    else:
        with pytest.raises(IllegalMove):
            move(rollout)


def test_the_whole_walk() -> None:
    rollout = a_rollout().started(4, 3, moment())
    states = [(rollout.state, rollout.weight)]
    for day in range(1, 6):
        rollout = rollout.advanced(POLICY, moment(day))
        states.append((rollout.state, rollout.weight))
    assert states == [
        (State.SHADOW, 0),
        (State.CANARY, 100),
        (State.CANARY, 500),
        (State.CANARY, 2_500),
        (State.GUARD, 10_000),
        (State.PROMOTED, 10_000),
    ]
    assert [step.event_time for step in rollout.steps] == [BEGIN + day * DAY for day in range(6)]
    assert rollout.over


def test_the_first_champion_ever_answers_at_once() -> None:
    assert a_rollout().started(0, 0, moment()).state is State.PROMOTED
    assert a_rollout().jumped(0, 0, moment()).state is State.PROMOTED


def test_a_policy_that_changed_in_between_is_followed_from_the_present_weight() -> None:
    rollout = a_rollout(State.CANARY, weight=500)
    changed = replace(POLICY, steps=(1_000, 10_000))
    assert rollout.advanced(changed, moment()).weight == 1_000
    assert rollout.advanced(replace(POLICY, steps=(10_000,)), moment()).state is State.GUARD


def test_event_time_never_goes_back_within_a_rollout() -> None:
    rollout = a_rollout(State.SHADOW, step_event_time=BEGIN + 5 * DAY)
    assert rollout.advanced(POLICY, moment(2)).step_event_time == BEGIN + 5 * DAY


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("mode", [Mode.ON, Mode.PROPOSE, Mode.OFF])
def test_decisions_one_by_one(state: State, verdict: Verdict, mode: Mode) -> None:
    move, why = decide(a_rollout(state), POLICY, verdict, BEGIN + DAY, mode)
    if state not in ACTIVE:
        expected = Move.STAY
    elif verdict is Verdict.ROLL_BACK:
        expected = Move.ROLL_BACK
    elif mode is Mode.OFF or state is State.GUARD:
        expected = Move.STAY
    else:
        expected = Move.ADVANCE if verdict is Verdict.ADVANCE else Move.STAY
    assert move is expected
    assert why


def test_the_guard_ends_by_event_time_and_not_before() -> None:
    guard = a_rollout(State.GUARD)
    for verdict in (Verdict.CONTINUE, Verdict.ADVANCE):
        assert decide(guard, POLICY, verdict, BEGIN + 13.9 * DAY, Mode.ON)[0] is Move.STAY
        assert decide(guard, POLICY, verdict, BEGIN + 14 * DAY, Mode.ON)[0] is Move.ADVANCE
        assert decide(guard, POLICY, verdict, BEGIN + 14 * DAY, Mode.OFF)[0] is Move.STAY


@pytest.mark.parametrize("state", [State.SHADOW, State.CANARY])
def test_an_undecided_rollout_is_given_up(state: State) -> None:
    move, why = decide(a_rollout(state), POLICY, Verdict.CONTINUE, BEGIN + 60 * DAY, Mode.ON)
    assert move is Move.GIVE_UP
    assert "60 days" in why


VERDICTS = st.lists(st.tuples(st.sampled_from(list(Verdict)), st.integers(0, 20), st.sampled_from(list(Mode)[1:])))
STEPS = st.lists(st.integers(1, 9_999), max_size=5, unique=True).map(lambda ws: (*sorted(ws), 10_000))


def somebody_known_answers(lineup: Lineup, rollout: Rollout) -> None:
    """What holds in every state of version 5's roll-out over champion 4, with whatever pins."""
    roles = cast(lineup, rollout)
    assert roles.champion == (5 if rollout.state in (State.GUARD, State.PROMOTED) else 4)
    assert (roles.phase is Phase.NONE) == rollout.over
    shown = {number for number, _, _ in roles.shadows}
    assert set(lineup.pins) <= shown | {roles.champion, roles.canary}
    assert roles.champion not in shown
    assert roles.canary not in shown
    if rollout.active:
        assert (roles.judge_version, roles.judge_baseline) == (5, 4)
        assert {4, 5} <= roles.numbers
    if rollout.state in (State.ROLLED_BACK, State.SUPERSEDED):
        assert (lineup.champion, lineup.fallback) == (4, 3)


@given(verdicts=VERDICTS, steps=STEPS, pins=st.sets(st.integers(1, 6)), by_hand=st.booleans())
def test_whatever_the_verdicts_somebody_known_answers(
    verdicts: list[tuple[Verdict, int, Mode]], steps: tuple[int, ...], pins: set[int], by_hand: bool
) -> None:
    policy: RolloutPolicy = replace(POLICY, steps=steps)
    before = Lineup(4, 3, tuple(sorted(pins)))
    waiting = a_rollout()
    rollout = waiting.jumped(4, 3, moment()) if by_hand else waiting.started(4, 3, moment())
    lineup = lineup_after(before, rollout, waiting.state)
    day, weights = 0, [rollout.weight]
    for verdict, days, mode in verdicts:
        day += days
        move, _ = decide(rollout, policy, verdict, BEGIN + day * DAY, mode)
        previous = rollout
        if move is Move.ADVANCE:
            rollout = rollout.advanced(policy, moment(day))
        elif move is Move.ROLL_BACK:
            rollout = rollout.rolled_back(moment(day))
        elif move is Move.GIVE_UP:
            rollout = rollout.superseded(moment(day))
        else:
            continue
        lineup = lineup_after(lineup, rollout, previous.state)
        weights.append(rollout.weight)
        assert set(lineup.pins) == pins
        somebody_known_answers(lineup, rollout)
    climbing = weights if rollout.state not in (State.ROLLED_BACK, State.SUPERSEDED) else weights[:-1]
    assert climbing == sorted(climbing)
    assert all(step.reason for step in rollout.steps)
    assert not (rollout.state in OVER and rollout.held)


def test_pins_outlive_a_rollout_of_the_same_version() -> None:
    lineup = Lineup(4, 3, (5,))
    assert cast(lineup, a_rollout(State.SHADOW)).shadows == ((5, "candidate", True),)
    assert cast(lineup, a_rollout(State.CANARY)).shadows == ()
    assert cast(lineup, None).shadows == ((5, "pinned", True),)
    assert cast(Lineup(0, 0, (5,)), None).shadows == ()


def test_what_kind_of_change_it_is() -> None:
    assert change_between(1, 1, False) is None
    assert [change_between(1, 2, False), change_between(2, 1, True), change_between(2, 0, False)] == [
        "promoted",
        "rolled_back",
        "retired",
    ]
