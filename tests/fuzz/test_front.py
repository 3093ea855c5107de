"""The front's parsers under a fuzzer that follows the branches its inputs reach (`guided.py`), a process for each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.conftest import Fuzz
from fuzz.front_targets import TARGETS

PROGRAM = Path(__file__).with_name("guided.py")
WEIGHT = 4
"""Shares of the time: who follows branches needs some to get anywhere."""
STARTS_S = 60.0


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_a_peer_sends_the_front_stays_right(fuzz: Fuzz, request: pytest.FixtureRequest, target: str) -> None:
    """No exception, nothing left on the books, the same fields as another decoder finds, only frames that there are."""
    seed, seconds = f"{fuzz.seed}/{fuzz.first}", fuzz.seconds
    command = [sys.executable, str(PROGRAM), target, "--seconds", f"{seconds}", "--seed", seed]
    if corpus := request.config.getoption("--fuzz-corpus", ""):
        command += ["--corpus", str(Path(corpus) / target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + STARTS_S, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    [tried] = re.findall(r"number_of_executed_units: +(\d+)", done.stderr)
    branches = re.findall(r"cov: (\d+)", done.stderr)
    fuzz.told.append(f"{tried:>8} inputs, {branches[-1]:>7} branches: {fuzz.name}")
