"""When a tier is green, and what its closing line says."""

from __future__ import annotations

from dataclasses import replace

import tiers

GREEN = tiers.Result("unit", code=0, passed=3, failed=0, skipped=0, seconds=4.2)


def test_a_tier_is_green_when_all_ran_and_passed() -> None:
    assert GREEN.green
    assert GREEN.line() == "ok   unit         3 passed, 0 failed, 0 skipped in 4 s (budget 10 s)"


def test_a_skipped_test_is_not_green() -> None:
    assert not replace(GREEN, skipped=1).green


def test_a_tier_without_a_test_is_not_green() -> None:
    assert not replace(GREEN, passed=0).green


def test_what_pytest_calls_a_failure_is_one_even_without_a_failed_test() -> None:
    assert not replace(GREEN, code=2).green
    assert replace(GREEN, code=2).line().startswith("FAIL unit")


def test_tiers_that_wait_share_the_machine_and_the_others_have_it_alone() -> None:
    asked = ["unit", "contract", "integration", "e2e", "chaos"]
    assert tiers.rounds(asked, at_once=2) == [["integration", "contract", "unit"], ["e2e"], ["chaos"]]
    assert tiers.rounds(asked, at_once=1) == [["integration"], ["contract"], ["unit"], ["e2e"], ["chaos"]]
    assert tiers.rounds(["e2e"], at_once=2) == [["e2e"]]
