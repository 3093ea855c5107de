#!/usr/bin/env python3
"""Run tiers of tests one after the other, all of them whatever fails, and close with pytest's summary lines.

`python tools/tiers.py unit contract …`. A tier fails when a test fails, when one is skipped, and when it has none:
what cannot be tested here is not green. Times beside the budgets are for people; nothing is asserted about them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "test"
BUDGETS_S = {"unit": 10, "contract": 60, "integration": 120, "e2e": 300, "chaos": 180, "chaos-full": 900}
OPTIONS = {"chaos": ["-m", "not long"], "unit": ["--timeout=30"]}
FOLDERS = {"chaos-full": "chaos"}


@dataclass(frozen=True)
class Result:
    """What a tier came to. `code` is pytest's exit code."""

    tier: str
    code: int
    passed: int
    failed: int
    skipped: int
    seconds: float

    @property
    def green(self) -> bool:
        """All ran, all passed, and there were some."""
        return self.code == 0 and self.passed > 0 and self.skipped == 0

    def line(self) -> str:
        """Return a line for the closing table."""
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        verdict = "ok  " if self.green else "FAIL"
        return f"{verdict} {self.tier:<12} {counts} in {self.seconds:.0f} s (budget {BUDGETS_S[self.tier]} s)"


def run(tier: str) -> Result:
    """Run one tier with its output passed through."""
    print(f"---- {tier}", flush=True)
    report = RESULTS / f"{tier}.xml"
    report.unlink(missing_ok=True)
    folder = ROOT / "tests" / FOLDERS.get(tier, tier)
    options = [*OPTIONS.get(tier, []), f"--junitxml={report}", "-o", "junit_family=xunit2"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "pytest", str(folder), *options], cwd=ROOT, check=False)
    seconds = time.monotonic() - started
    total = failed = skipped = 0
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        if suite is not None:
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return Result(tier, done.returncode, max(total - failed - skipped, 0), failed, skipped, seconds)


def main() -> None:
    """Run the tiers named on the command line."""
    tiers = sys.argv[1:]
    if not tiers or not set(tiers) <= BUDGETS_S.keys():
        sys.exit(f"usage: tools/tiers.py {' '.join(BUDGETS_S)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = [run(tier) for tier in tiers]
    print("\n".join(["", *(result.line() for result in results)]))
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    seconds = sum(result.seconds for result in results)
    skipped = sum(result.skipped for result in results)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "") + f" in {seconds:.2f}s")
    sys.exit(0 if all(result.green for result in results) else 1)


if __name__ == "__main__":
    main()
