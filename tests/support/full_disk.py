"""A disk that is full, for a test that is not root: a child process whose files may not grow beyond a limit.

The kernel then takes a part of a write, and refuses the next one, as a full disk does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_BEFORE = """
import asyncio, resource, sys
from contextlib import contextmanager
from pathlib import Path
folder = Path(sys.argv[1])
@contextmanager
def full(at_bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""
_AFTER = """
import os
sys.stdout.flush()
os._exit(0)
"""
_TESTS = Path(__file__).resolve().parents[1]


def in_child(code: str, folder: Path) -> None:
    """Runs the code, which knows `folder` and `with full(at_bytes)`. Fails with what it raised.

    It ends without Python's own end, in which a thread of a native library whose write was refused may abort.
    """
    code = f"{_BEFORE}sys.path.insert(0, {str(_TESTS)!r})\n{code}\n{_AFTER}"
    command = [sys.executable, "-c", code, str(folder)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert child.returncode == 0, child.stdout[-500:] + child.stderr[-1500:]
