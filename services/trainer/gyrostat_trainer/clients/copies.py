"""Copies of snapshots in the artifact store, so that a run can be reproduced after the archive has moved on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gyrostat_common.artifacts import ArtifactStore


class SnapshotCopies:
    """Keeps files up to a size."""

    def __init__(self, store: ArtifactStore, limit_bytes: int) -> None:
        self._store, self._limit_bytes = store, limit_bytes

    async def keep(self, path: Path) -> tuple[str, int, str] | None:
        """(sha256, bytes, address) of the copy; None when the file is too large to be copied."""
        if await asyncio.to_thread(os.path.getsize, path) > self._limit_bytes:
            return None
        stored = await self._store.put_file(path)
        return stored.sha256, stored.size, stored.uri
