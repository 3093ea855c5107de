"""What a run was made with: digests of the pipeline's source and of its environment, and the machine."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

MOST_FILES = 2_000
_LIST = (
    "import importlib.metadata as m,json;"
    "print(json.dumps(sorted({f'{d.name}=={d.version}' for d in m.distributions()})))"
)


def source_digest(folder: Path) -> str:
    """SHA-256 over the Python files below a folder, with their relative names, and the git commit if any."""
    digest = hashlib.sha256()
    files = sorted(
        p for p in folder.rglob("*.py") if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    for path in files[:MOST_FILES]:
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    commit = _commit(folder)
    return f"sha256:{digest.hexdigest()}" + (f" git:{commit}" if commit else "")


def _commit(folder: Path) -> str:
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@lru_cache(maxsize=32)
def environment_digest(command: Sequence[str], lock_file: str) -> str:
    """SHA-256 of the lock file, else of the names and versions installed beside the command's interpreter."""
    if lock_file:
        return f"lock:{hashlib.sha256(Path(lock_file).read_bytes()).hexdigest()}"
    return f"packages:{hashlib.sha256(_packages(command[0]).encode()).hexdigest()}"


def _packages(program: str) -> str:
    if program == sys.executable:
        return json.dumps(sorted({f"{d.name}=={d.version}" for d in metadata.distributions()}))
    if Path(program).name.startswith("python"):
        found = subprocess.run([program, "-c", _LIST], capture_output=True, text=True, timeout=60, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    return f"unknown environment of {program}"


def machine() -> dict[str, str]:
    """Host, Python and the processor's features: byte-equal retraining is promised on the same ones only."""
    features = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("flags"):
                features = hashlib.sha256(line.partition(":")[2].strip().encode()).hexdigest()[:16]
                break
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_features": features,
    }
