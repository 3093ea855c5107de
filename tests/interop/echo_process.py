"""Starts `server.py` for the time of a block."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Addresses:
    """Where an echo listens, and the folder with its authority and its descriptors."""

    plain: str
    tls: str
    folder: Path
    pid: int

    @property
    def authority(self) -> Path:
        return self.folder / "authority" / "ca.pem"

    @property
    def descriptors(self) -> Path:
        return self.folder / "descriptors.binpb"


@contextmanager
def echo(front: str, folder: Path, **limits: float) -> Iterator[Addresses]:
    """An echo on that front. Raises AssertionError at the end when it has met an exception that nobody handled."""
    command = [sys.executable, str(HERE / "server.py"), "--front", front, "--folder", str(folder)]
    errors = folder / "errors.log"
    with errors.open("w") as log:
        process = subprocess.Popen(
            [*command, "--limits", json.dumps(limits)], stdout=subprocess.PIPE, stderr=log, cwd=ROOT
        )
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        plain, tls = (f"localhost:{ports[name]}" for name in ("plain", "tls"))
        yield Addresses(plain, tls, folder, process.pid)
    finally:
        process.terminate()
        process.wait(20)
    said = errors.read_text()
    assert "Traceback" not in said, said[-3000:]
