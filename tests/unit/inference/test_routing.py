"""Who answers: sticky by hash, pinned by number or alias, the next only when the one before cannot."""

import subprocess
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.domain.errors import ModelUnknown, VersionNotLoaded, VersionNotServed
from gyrostat_inference.domain.routing import Attempt, attempts, part, resolve, sampled, shadows
from support.live_models import a_plan, a_shadow, a_version

ALL = range(100)
CANARY = a_plan(canary=5, canary_weight=500, rollout_id="r1", shadows=(a_shadow(6, pinned=True, purpose="pinned"),))


def test_the_part_of_a_key_is_the_same_in_every_process():
    code = "from gyrostat_inference.domain.routing import part; print(part('flights', 'r1', 'UA-1'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(part("flights", "r1", "UA-1")) == "2919"


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_key_that_is_with_the_canary_stays_with_it_as_the_weight_grows(key: str, one: int, other: int):
    less, more = sorted((one, other))
    few = attempts(a_plan(canary=5, canary_weight=less, rollout_id="r"), ALL, "", key)
    many = attempts(a_plan(canary=5, canary_weight=more, rollout_id="r"), ALL, "", key)
    assert few[0].variant != "canary" or many[0].variant == "canary"


def test_the_canary_answers_about_its_share():
    keys = [str(uuid.UUID(int=n)) for n in range(4000)]
    answered = sum(attempts(CANARY, ALL, "", key)[0].variant == "canary" for key in keys)
    assert 140 < answered < 260


def test_another_rollout_deals_the_keys_anew():
    keys = [f"entity-{n}" for n in range(300)]
    other = a_plan(canary=5, canary_weight=500, rollout_id="r2")
    assert [attempts(CANARY, ALL, "", k)[0] for k in keys] != [attempts(other, ALL, "", k)[0] for k in keys]


def test_weight_zero_and_full():
    assert attempts(a_plan(canary=5, canary_weight=0), ALL, "", "k")[0] == Attempt(4, "champion")
    assert attempts(a_plan(canary=5, canary_weight=10_000), ALL, "", "k")[0] == Attempt(5, "canary")


def test_the_fallback_is_last_and_a_version_that_is_not_loaded_is_passed_over():
    plan = a_plan(fallback=3)
    assert attempts(plan, ALL, "", "k") == [Attempt(4, "champion"), Attempt(3, "fallback")]
    assert attempts(plan, {3}, "", "k") == [Attempt(3, "fallback")]


@pytest.mark.parametrize(
    ("version", "number"), [("4", 4), ("champion", 4), ("canary", 5), ("challenger", 5), ("v1.2", 4), ("6", 6)]
)
def test_a_version_is_pinned_by_number_or_alias(version: str, number: int):
    plan = a_plan(canary=5, shadows=(a_shadow(6),))
    plan = type(plan)(**{**{f: getattr(plan, f) for f in plan.__slots__}, "champion": a_version(4, aliases=["v1.2"])})
    assert attempts(plan, ALL, version, "k") == [Attempt(number, "pinned")]


def test_the_challenger_is_the_candidate_in_the_shadow_while_there_is_no_canary():
    assert resolve(a_plan(shadows=(a_shadow(3, purpose="guard"), a_shadow(6, purpose="candidate"))), "challenger") == 6


def test_a_version_outside_the_plan_is_refused_with_what_is_live():
    plan = a_plan(canary=5, canary_weight=500)
    with pytest.raises(VersionNotServed) as refused:
        attempts(plan, ALL, "3", "k")
    assert str(refused.value) == "flights:3 is not served; live: 4 (champion), 5 (canary 5 %)"


def test_no_loaded_version_and_a_retired_model_are_different_answers():
    with pytest.raises(VersionNotLoaded, match="no version that may answer is loaded; planned: 4"):
        attempts(a_plan(), set(), "", "k")
    with pytest.raises(VersionNotLoaded, match="flights:4 \\(champion\\) is not loaded"):
        attempts(a_plan(), set(), "4", "k")
    with pytest.raises(ModelUnknown, match="retired since revision 7"):
        attempts(a_plan(None), set(), "", "k")


def test_while_a_canary_is_open_both_score_every_request():
    assert shadows(CANARY, Attempt(4, "champion"), "p") == [5, 6]
    assert shadows(CANARY, Attempt(5, "canary"), "p") == [4, 6]


def test_a_pinned_call_has_no_shadows():
    assert shadows(CANARY, Attempt(4, "pinned"), "p") == []


def test_a_shadow_scores_its_share_of_the_predictions():
    plan = a_plan(shadows=(a_shadow(6, sample_rate=0.25),))
    scored = sum(bool(shadows(plan, Attempt(4, "champion"), str(n))) for n in range(4000))
    assert 850 < scored < 1150


def test_rates_at_the_ends_take_all_or_nothing():
    assert sampled(1.0, "x")
    assert not sampled(0.0, "x")


def test_a_number_with_thousands_of_digits_is_no_version():
    with pytest.raises(VersionNotServed):
        attempts(CANARY, ALL, "9" * 5000, "key")
