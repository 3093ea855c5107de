"""What ONNX Runtime does to a process of ours beside being there: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import json, os
import gyrostat_common
import onnxruntime
paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
files = [os.readlink(path) for path in paths if os.path.exists(path)]
print(json.dumps([len(os.listdir("/proc/self/task")), files]))
"""


def test_the_runtime_starts_no_thread_opens_no_file_and_tells_nobody(tmp_path: Path) -> None:
    """Telemetry of the wheel: ADR 187. BLAS has threads of its own, which are not meant here."""
    alone = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", LOOK], env=kept | alone, capture_output=True, text=True, check=True)
    threads, files = json.loads(done.stdout)
    assert threads == 1
    assert [file for file in files if file.endswith((".db", ".db-wal", ".db-shm"))] == []
    assert list(tmp_path.iterdir()) == []
