"""A time to fuzz and a seed that repeats it: `make fuzz`, `make fuzz ARGS="--seconds 600 --seed 7"`.

The n-th input of a target depends on the seed, the target's name and n alone; a failure prints all three and the input,
and `--seed SEED/N` begins with that input.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gyrostat_common.errors import GyrostatError

LONGEST_S = 20.0
"""A parser that takes longer for one input hangs."""
ROOM_BYTES = 2 << 30
"""More address space than this in one example is an allocation that the input asked for."""
HERE = Path(__file__).parent
TOLD = pytest.StashKey[list[str]]()


class Hangs(BaseException):
    """The parser did not come back."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=10.0, help="shared by all targets")
    parser.addoption("--fuzz-seed", default="0", help="SEED or SEED/FIRST")
    parser.addoption("--fuzz-corpus", default="", help="where the guided ones keep what led further")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit is on one input, not on the target; pytest-timeout would take the same signal."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was tried, and the seed."""
    if told := config.stash.get(TOLD, []):
        terminalreporter.write_line("\n".join([*told, f"seed {config.getoption('--fuzz-seed', '0')}"]))


@dataclass(frozen=True)
class Fuzz:
    """Feeds one target until its share of the time is over."""

    name: str
    seed: str
    first: int
    seconds: float
    told: list[str]

    def __call__(
        self, make: Callable[[Random], Any], read: Callable[[Any], object], *more: type[BaseException], least: int = 1
    ) -> None:
        """`read` may raise a GyrostatError or one of `more`; anything else, a hang or a huge allocation is a failure.

        At least `least` inputs are tried however short the time is.
        """
        until = time.monotonic() + self.seconds
        n, refused = self.first, 0
        while time.monotonic() < until or n < self.first + least:
            given = make(Random(f"{self.seed}/{self.name}/{n}"))
            try:
                with Limit():
                    read(given)
            except (GyrostatError, *more):
                refused += 1
            except (Exception, Hangs) as error:
                shown = repr(given)
                shown = shown if len(shown) < 1500 else f"{shown[:1500]}… ({len(shown)} characters)"
                repeat = f'make fuzz ARGS="--seed {self.seed}/{n}"'
                error.add_note(f"{self.name}: {repeat} begins with this input:\n{shown}")
                raise
            n += 1
        self.told.append(f"{n - self.first:>8} inputs, {refused:>7} refused: {self.name}")


class Limit:
    """Ends the block with Hangs after LONGEST_S."""

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(scope="session", autouse=True)
def _bounds() -> Iterator[None]:
    """A hang raises, and memory has an end."""

    def hangs(*_: object) -> None:
        raise Hangs(f"no answer within {LONGEST_S:g} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as numbers:
        now = int(numbers.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM_BYTES, before[1]))
    old = signal.signal(signal.SIGALRM, hangs)
    yield
    signal.signal(signal.SIGALRM, old)
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """The target's share of the time."""
    seed, _, first = request.config.getoption("--fuzz-seed", "0").partition("/")
    shares = sum(getattr(item.module, "WEIGHT", 1) for item in request.session.items)
    share = request.config.getoption("--fuzz-seconds", 10.0) * getattr(request.module, "WEIGHT", 1) / shares
    told = request.config.stash.setdefault(TOLD, [])
    return Fuzz(request.node.name.removeprefix("test_"), seed, int(first or 0), share, told)
