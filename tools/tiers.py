#!/usr/bin/env python3
"""Run tiers of tests, all of them whatever fails, and close with pytest's summary lines.

`python tools/tiers.py unit contract …`. Tiers that mostly wait (for brokers, for processes that start) run two at a
time, each with its own brokers and databases, and show their output when they end; e2e and chaos have the machine to
themselves. `--at-once 1` runs one after the other. A tier fails when a test fails, when one is skipped, and when it
has none: what cannot be tested here is not green. Times beside the budgets are for people; nothing is asserted about
them. `fuzz` runs for `--seconds` and says the `--seed` that repeats it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "test"


@dataclass(frozen=True)
class Tier:
    """How a tier is run. `shares`: another such tier may run beside it."""

    budget_s: int
    options: tuple[str, ...] = ()
    folder: str = ""
    """Below tests/, several with blanks between; empty: as the tier is called."""
    shares: bool = False


# Unit in two halves of about the same time, side by side in `make check`; a new folder falls into the first.
WAITING = ("unit/common", "unit/trainer", "unit/registry")

# The longest first, so that two at a time end at about the same time.
TIERS = {
    "integration": Tier(120, shares=True),
    "contract": Tier(60, shares=True),
    "unit": Tier(10, ("--timeout=30",), shares=True),
    "unit-most": Tier(10, ("--timeout=30", *(f"--ignore=tests/{name}" for name in WAITING)), "unit", shares=True),
    "unit-waiting": Tier(10, ("--timeout=30",), " ".join(WAITING), shares=True),
    "e2e": Tier(300),
    "chaos": Tier(180, ("-m", "not long")),
    "chaos-full": Tier(900, folder="chaos"),
    "fuzz": Tier(60),
}


@dataclass(frozen=True)
class Result:
    """What a tier came to. `code` is pytest's exit code."""

    tier: str
    code: int
    passed: int
    failed: int
    skipped: int
    seconds: float
    output: bytes = b""
    """What it printed, when it was kept back."""

    @property
    def green(self) -> bool:
        """All ran, all passed, and there were some."""
        return self.code == 0 and self.passed > 0 and self.skipped == 0

    def line(self) -> str:
        """Return a line for the closing table."""
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        verdict = "ok  " if self.green else "FAIL"
        return f"{verdict} {self.tier:<12} {counts} in {self.seconds:.0f} s (budget {TIERS[self.tier].budget_s} s)"


def rounds(tiers: list[str], at_once: int) -> list[list[str]]:
    """Return what runs together, round after round: first those that share the machine, then the others, each alone."""
    wanted = [name for name in TIERS if name in tiers]
    together = [name for name in wanted if TIERS[name].shares and at_once > 1]
    alone = [[name] for name in wanted if name not in together]
    return [together, *alone] if together else alone


def run(tier: str, more: list[str], *, keep_output: bool = False) -> Result:
    """Run one tier with its output passed through, or kept for the result."""
    if not keep_output:
        print(f"---- {tier}", flush=True)
    report = RESULTS / f"{tier}.xml"
    report.unlink(missing_ok=True)
    folders = [str(ROOT / "tests" / name) for name in (TIERS[tier].folder or tier).split()]
    options = [*TIERS[tier].options, *more, f"--junitxml={report}", "-o", "junit_family=xunit2"]
    if keep_output:
        options += ["-p", "no:cacheprovider"]  # one file for all
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *folders, *options],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE if keep_output else None,
        stderr=subprocess.STDOUT if keep_output else None,
    )
    seconds = time.monotonic() - started
    total = failed = skipped = 0
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        if suite is not None:
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    passed = max(total - failed - skipped, 0)
    return Result(tier, done.returncode, passed, failed, skipped, seconds, done.stdout or b"")


def run_together(tiers: list[str], at_once: int) -> Iterator[Result]:
    """Run tiers side by side, `at_once` of them at a time; print each one's output when it has ended."""
    print(f"---- {', '.join(tiers)}: {at_once} at a time, each is shown when it has ended", flush=True)
    with ThreadPoolExecutor(at_once) as pool:
        for ended in as_completed(pool.submit(run, tier, [], keep_output=True) for tier in tiers):
            result = ended.result()
            print(f"---- {result.tier}", flush=True)
            sys.stdout.buffer.write(result.output)
            sys.stdout.buffer.flush()
            yield result


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiers", nargs="+", choices=TIERS, metavar="tier", help=", ".join(TIERS))
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="tiers side by side (default 2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to fuzz (default 60)")
    parser.add_argument("--seed", default=None, help="fuzz with this SEED or SEED/FIRST (default: a new one)")
    parser.add_argument("--corpus", default="", help="where guided fuzzers keep what led further")
    return parser.parse_args()


def main() -> None:
    """Run the tiers named on the command line."""
    args = arguments()
    seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
    fuzz = [f"--fuzz-seconds={args.seconds}", f"--fuzz-seed={seed}", f"--fuzz-corpus={args.corpus}"]
    more = {"fuzz": fuzz}
    RESULTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results: list[Result] = []
    for tiers in rounds(args.tiers, args.at_once):
        if len(tiers) == 1:
            results.append(run(tiers[0], more.get(tiers[0], [])))
        else:
            results += run_together(tiers, args.at_once)
    print("\n".join(["", *(result.line() for result in results)]))
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    skipped = sum(result.skipped for result in results)
    seconds = time.monotonic() - started
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "") + f" in {seconds:.2f}s")
    sys.exit(0 if all(result.green for result in results) else 1)


if __name__ == "__main__":
    main()
