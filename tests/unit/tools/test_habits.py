"""What the habits' check calls a fault, and what it lets pass."""

from __future__ import annotations

import pytest

import habits


def named(source: str, name: str = "libs/thing/kettle.py") -> list[str]:
    """The faults without their places."""
    return [fault.split(": ", 1)[1] for fault in habits.faults(name, source)]


def test_a_function_is_as_long_as_the_lines_it_spans() -> None:
    body = "\n    pass" * 39
    assert named(f"def short():{body}") == []
    assert named(f"async def long():\n    '''Says so.'''{body}") == ["long has 41 lines; at most 40"]


def test_a_module_has_an_end() -> None:
    assert named("x = 1\n" * 400) == []
    assert named("x = 1\n" * 401) == ["401 lines; at most 400: split it by concept"]


def test_a_constructor_has_six_collaborators_whatever_way_they_are_given() -> None:
    assert named("class Pot:\n    def __init__(self, a, b, c, *, d, e, f): ...") == []
    assert named("class Pot:\n    def __init__(self, a, b, c, *, d, e, f, g): ...") == [
        "a constructor with 7 collaborators; at most 6"
    ]


@pytest.mark.parametrize("name", ["libs/utils.py", "libs/kettle_helpers.py", "libs/base/kettle.py", "libs/data.py"])
def test_a_module_is_named_after_what_it_holds(name: str) -> None:
    assert len(named("", name)) == 1


@pytest.mark.parametrize("name", ["KettleManager", "Info", "KettleBase", "HTTPHelper"])
def test_a_class_is_named_after_what_it_is(name: str) -> None:
    assert named(f"class {name}: ...") == [f"'{name}' does not say what it is"]


@pytest.mark.parametrize("name", ["libs/database.py", "libs/baseline.py", "libs/data_sets.py"])
def test_a_word_that_only_begins_like_an_empty_one_is_fine(name: str) -> None:
    assert named("class DataSet(Base): ...", name) == []


def test_who_catches_everything_and_goes_on_says_why() -> None:
    fault = ["catches everything, goes on, and no comment says why"]
    assert named("try:\n    pass\nexcept Exception:\n    pass") == fault
    assert named("try:\n    pass\nexcept:\n    pass") == fault
    assert named("try:\n    pass\nexcept Exception:  # a watch must not end\n    pass") == []
    assert named("try:\n    pass\nexcept BaseException:\n    x = 1\n    raise") == []
    assert named("try:\n    pass\nexcept OSError:\n    pass") == []
