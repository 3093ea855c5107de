"""What the benches share: processors to stay on, runs that do not count, the median and the spread of those that do,
and beside each figure how it compares with a ceiling or a peer from the same run, since machines differ and ratios
less so.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of one thing, in `unit`."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self, peer: Figure | None = None) -> str:
        """Name, median, least and most; behind them how many times the peer's median it is."""
        spread = f"{_short(min(self.values))} … {_short(max(self.values))}"
        ratio = f"{self.median / peer.median:8.2f} x {peer.name}" if peer is not None and peer.median else ""
        return f"{self.name:<44} {_short(self.median):>9} {self.unit:<9} {spread:<20} {ratio}".rstrip()


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def arguments(description: str | None, runs: int = 5) -> argparse.ArgumentParser:
    """A parser with what every bench understands: `--runs` and `--cpus`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="runs that count; one more comes first and does not")
    parser.add_argument("--cpus", default="", help="processors to stay on, as 0,1; default: all that there are")
    return parser


def begin(what: str, cpus: str, heading: bool = True) -> None:
    """Pins this process, and with it what it starts, and says where the figures come from. Only warnings are logged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    pinned = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    print(f"\n{what}: {platform.machine()}, processors {pinned}, Python {platform.python_version()}")
    if heading:
        print(f"{'what':<44} {'median':>9} {'':<9} least … most")


def repeated(name: str, unit: str, runs: int, once: Callable[[], float]) -> Figure:
    """`once` does the work and returns what it measured; the first time does not count."""
    once()
    return Figure(name, unit, tuple(once() for _ in range(runs)))


async def repeated_async(name: str, unit: str, runs: int, once: Callable[[], Awaitable[float]]) -> Figure:
    """The same for work that is awaited."""
    await once()
    return Figure(name, unit, tuple([await once() for _ in range(runs)]))


def each(times: int, work: Callable[[], object]) -> Callable[[], float]:
    """A run of many calls: microseconds of this process's CPU for one; others on the machine do not count."""

    def once() -> float:
        began = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - began) / times * 1e6

    return once


def each_async(times: int, work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    """The same for calls that are awaited."""

    async def once() -> float:
        began = time.process_time()
        for _ in range(times):
            await work()
        return (time.process_time() - began) / times * 1e6

    return once


def in_children(work: Callable[[], object]) -> Callable[[], float]:
    """One call that waits for other processes: seconds of CPU that they took."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        work()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return once


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Appends the seconds that the block took."""
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)
