"""The whole system as processes, for e2e and chaos tests: the machine of `make up`, in a folder of the test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from gyrostat_local import LocalSystem


@asynccontextmanager
async def a_system(environ: Mapping[str, str] | None = None) -> AsyncIterator[LocalSystem]:
    """A running system on free ports; stopped and its folder removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-system-"))
    try:
        async with LocalSystem(folder, "free", {"GYROSTAT_LOG__FORMAT": "json", **(environ or {})}) as system:
            yield system
    finally:
        shutil.rmtree(folder, ignore_errors=True)
