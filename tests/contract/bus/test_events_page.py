"""The tables of topics and of ACLs in the docs are the contract's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[3] / "tools" / "events_pages.py"


def test_the_pages_show_the_contract() -> None:
    checked = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
