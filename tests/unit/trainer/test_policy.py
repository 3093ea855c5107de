"""When a cause is acted on: each rule, their order, and that one cause never gets two runs at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_trainer.domain.episodes import CONFIRMED, OPENED, RESOLVED, SUPERSEDED, Episode, poisoned
from gyrostat_trainer.domain.policy import ATTACH, IGNORE, TRAIN, WAIT, Situation, decide
from gyrostat_trainer.domain.spec import DAY_S, TrainingSpec

DAY_US = DAY_S * 1_000_000
NOW = 100 * DAY_US
SPEC = TrainingSpec(cooldown_s=14 * DAY_S, max_runs_per_30_days=3)


def an_episode(**fields: object) -> Episode:
    usual = Episode(
        id="ep",
        environment="production",
        model="m",
        version=1,
        kind="performance",
        state=CONFIRMED,
        started_at_us=NOW - DAY_US,
        ended_at_us=None,
        watermark_us=NOW,
        event_id="e",
        correlation_id="ep",
        summary="loss 0.6 against 0.5",
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def a_situation(**fields: object) -> Situation:
    usual = Situation(episode=an_episode(), spec=SPEC, champion=1, watermark_us=NOW)
    return replace(usual, **fields)  # type: ignore[arg-type]


def test_a_confirmed_episode_of_the_champion_trains() -> None:
    verdict = decide(a_situation())
    assert verdict.action == TRAIN
    assert "loss 0.6" in verdict.reason


def test_a_kind_that_is_not_in_the_policy_is_ignored_with_the_kinds_that_are() -> None:
    verdict = decide(a_situation(episode=an_episode(kind="data")))
    assert verdict.action == IGNORE
    assert "performance, concept" in verdict.reason


def test_a_data_quality_episode_never_trains_even_when_the_spec_says_so() -> None:
    spec = replace(SPEC, on=("data_quality",))
    assert decide(a_situation(spec=spec, episode=an_episode(kind="data_quality"))).action == IGNORE


def test_an_opened_episode_waits_silently() -> None:
    verdict = decide(a_situation(episode=an_episode(state=OPENED)))
    assert (verdict.action, verdict.silent) == (WAIT, True)


def test_an_episode_of_another_version_is_ignored() -> None:
    assert decide(a_situation(champion=2)).rule == "champion"
    assert decide(a_situation(champion=0)).action == IGNORE


def test_while_a_run_is_open_a_further_episode_attaches_once() -> None:
    assert decide(a_situation(open_run="r1")).action == ATTACH
    own = decide(a_situation(open_run="r1", episode=an_episode(run_id="r1", attempts=1)))
    assert (own.action, own.silent) == (WAIT, True)


def test_data_quality_blocks() -> None:
    verdict = decide(a_situation(data_quality=("dq-7",)))
    assert (verdict.action, verdict.rule) == (WAIT, "data_quality")
    assert "dq-7" in verdict.reason


@pytest.mark.parametrize(("days_ago", "action"), [(13.9, WAIT), (14.0, TRAIN), (14.1, TRAIN)])
def test_the_cool_down_counts_event_time_to_the_second(days_ago: float, action: str) -> None:
    assert decide(a_situation(trainings_us=(NOW - int(days_ago * DAY_US),))).action == action


def test_the_budget_counts_thirty_days_of_event_time() -> None:
    spec = replace(SPEC, cooldown_s=0)
    recent = tuple(NOW - days * DAY_US for days in (1, 10, 29))
    assert decide(a_situation(spec=spec, trainings_us=recent)).rule == "budget"
    assert decide(a_situation(spec=spec, trainings_us=(*recent[:2], NOW - 31 * DAY_US))).action == TRAIN


def test_an_episode_that_still_stands_after_its_run_tries_again_after_the_cool_down_and_no_sooner() -> None:
    tried = an_episode(attempts=1, run_id="r1")
    assert tried.cause == "ep#2"
    assert decide(a_situation(episode=tried, rollout_open=True)).rule == "rollout"
    assert decide(a_situation(episode=tried, trainings_us=(NOW - DAY_US,))).silent
    verdict = decide(a_situation(episode=tried, trainings_us=(NOW - 20 * DAY_US,)))
    assert verdict.action == TRAIN
    assert "attempt 2" in verdict.reason


@pytest.mark.parametrize("state", [RESOLVED, SUPERSEDED])
def test_an_ended_episode_causes_nothing_and_says_so_only_if_it_had_waited(state: str) -> None:
    assert decide(a_situation(episode=an_episode(state=state))).silent
    waited = decide(a_situation(episode=an_episode(state=state, last_rule="cooldown")))
    assert (waited.action, waited.silent) == (IGNORE, False)


@given(
    days=st.lists(st.floats(0, 60), max_size=6),
    cooldown_days=st.integers(0, 30),
    budget=st.integers(1, 5),
    quality=st.booleans(),
)
def test_a_training_always_keeps_cool_down_budget_and_quality(
    days: list[float], cooldown_days: int, budget: int, quality: bool
) -> None:
    trainings = tuple(NOW - int(d * DAY_US) for d in days)
    spec = replace(SPEC, cooldown_s=cooldown_days * DAY_S, max_runs_per_30_days=budget)
    verdict = decide(a_situation(spec=spec, trainings_us=trainings, data_quality=("dq",) if quality else ()))
    if verdict.action == TRAIN:
        assert not quality
        assert all(NOW - at >= cooldown_days * DAY_US for at in trainings)
        assert sum(1 for at in trainings if at > NOW - 30 * DAY_US) < budget
    else:
        assert verdict.reason


def test_older_news_changes_nothing_and_later_news_keeps_what_was_decided() -> None:
    known = an_episode(attempts=1, run_id="r1", last_rule="train0", was_confirmed=True)
    assert known.heard(an_episode(state=OPENED, watermark_us=NOW - 1)) == known
    later = known.heard(an_episode(state=RESOLVED, watermark_us=NOW + 5, ended_at_us=NOW + 1))
    assert (later.attempts, later.run_id, later.was_confirmed, later.is_open) == (1, "r1", True, False)
    assert later.heard(an_episode(watermark_us=NOW + 9)) == later


def test_ranges_of_broken_data_end_with_their_episode_and_need_a_confirmation() -> None:
    open_one = an_episode(id="a", kind="data_quality", state=OPENED, started_at_us=5)
    over = an_episode(id="b", kind="data_quality", state=RESOLVED, started_at_us=1, ended_at_us=3, was_confirmed=True)
    blip = an_episode(id="c", kind="data_quality", state=RESOLVED, started_at_us=2, ended_at_us=4)
    assert [(r.start_us, r.end_us) for r in poisoned([open_one, over, blip])] == [(1, 3), (5, None)]
