"""The whole system as processes, for e2e and chaos tests: the machine of `make up`, in a folder of the test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from gyrostat_local import LocalSystem
from gyrostat_local.plan import BOOTSTRAP, SERVICES


@asynccontextmanager
async def a_system(environ: Mapping[str, str] | None = None, *, own_kafka: bool = False) -> AsyncIterator[LocalSystem]:
    """A running system on free ports; stopped and its folder removed at the end.

    `own_kafka`: with a broker that may be stopped, also where an existing Kafka is named for the tests.
    """
    told = {"GYROSTAT_LOG__FORMAT": "json", **({BOOTSTRAP: ""} if own_kafka else {}), **(environ or {})}
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-system-"))
    try:
        async with LocalSystem(folder, "free", told) as system:
            try:
                yield system
            except Exception:
                _tell(system)
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(system: LocalSystem) -> None:
    """What each service complained of: the folder with its log is about to go."""
    for name in SERVICES:
        odd = [line for line in system.log(name).splitlines() if '"level": "info"' not in line]
        print(f"---- {name}", *(line[:600] for line in odd[-25:]), sep="\n")
