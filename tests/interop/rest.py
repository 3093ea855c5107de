#!/usr/bin/env python3
"""tritonclient over HTTP and kserve's client against the REST twin: `.venv/bin/python tests/interop/rest.py`.

What they need stays out of our lock: tritonclient has an environment below build/interop, kserve's is that of
`make bench-peers`, each made once. Ends with 1 when a check failed.
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

from bench.serving.peer import installed  # noqa: E402
from gyrostat_inference.service import http  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.fronts import certificates  # noqa: E402
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


async def told(name: str, python: Path, client: str, *words: str) -> bool:
    """Runs a client that prints a line per check; whether all is well."""
    running = await asyncio.create_subprocess_exec(
        str(python), str(HERE / "python" / client), *words, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT_S):
        said, _ = await running.communicate()
    lines = said.decode().splitlines()
    for line in lines:
        print(f"{name}\t{line}")
    return running.returncode == 0 and all(line.startswith("ok\t") for line in lines) and bool(lines)


async def main() -> int:
    """Prints a line per check."""
    triton, kserve = environment(), installed("kserve") / "bin" / "python"
    graphs = {"flights": a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])}
    well = []
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder) / "authority")
        shown = certificates(authority.issue("rest"))
        async with doors(Path(folder), graphs) as plain:
            well.append(await told("tritonclient", triton, "rest_client.py", str(plain.rest_port)))
            well.append(await told("kserve", kserve, "kserve_client.py", f"http://127.0.0.1:{plain.rest_port}"))
        async with doors(Path(folder), graphs, context=http.context_of(shown)) as secure:
            url, ca = f"https://localhost:{secure.rest_port}", str(authority.certificate_file)
            well.append(await told("kserve, TLS", kserve, "kserve_client.py", url, ca))
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
