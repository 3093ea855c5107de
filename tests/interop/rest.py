#!/usr/bin/env python3
"""tritonclient over HTTP against the REST twin: `.venv/bin/python tests/interop/rest.py`.

Its gevent stays out of our lock: it has an environment of its own below build/interop, made once. Ends with 1 when a
check failed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from support.graphs import a_scorer  # noqa: E402
from support.rest import doors  # noqa: E402

LIMIT_S = 120.0
LOCK = HERE / "python" / "requirements.lock"


def environment() -> Path:
    """Its Python; made again when the lock has changed."""
    folder, uv = ROOT / "build" / "interop" / "python", str(ROOT / ".venv/bin/uv")
    python, stamp = folder / "bin" / "python", folder / "made-from"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), "-r", str(LOCK)]
        subprocess.run(install, check=True)
        stamp.write_bytes(LOCK.read_bytes())
    return python


async def main() -> int:
    """Prints a line per check."""
    python = environment()
    graph = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
    with tempfile.TemporaryDirectory() as folder:
        async with doors(Path(folder), {"flights": graph}) as served:
            client = await asyncio.create_subprocess_exec(
                str(python), str(HERE / "python" / "rest_client.py"), str(served.rest_port), stdout=subprocess.PIPE
            )
            async with asyncio.timeout(LIMIT_S):
                told, _ = await client.communicate()
    print(told.decode(), end="")
    return 0 if told.count(b"ok\t") == len(told.splitlines()) > 0 and client.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
