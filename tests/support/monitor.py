"""A monitor's use cases on a database, without bus and server, for contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import database
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.bus import Received
from gyrostat_common.clock import FixedClock
from gyrostat_common.ids import CountingIds
from gyrostat_common.profile import Profile
from gyrostat_monitor.app import Core, core_of
from gyrostat_monitor.events import decoding
from gyrostat_monitor.settings import Settings
from support.frames import said, stamp

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@asynccontextmanager
async def a_core(url: str, folder: Path, clock: FixedClock | None = None) -> AsyncIterator[Core]:
    """Opened as after a start: plans are loaded from the store."""
    settings = Settings(data={"folder": folder})  # type: ignore[arg-type]
    async with database.open(url, migrations="gyrostat_monitor.migrations") as db:
        core = core_of(settings, db, clock or FixedClock(NOW), CountingIds("outcome"))
        await core.known.load()
        yield core


async def put_profile(folder: Path, profile: Profile) -> str:
    """Digest of the stored profile."""
    artifact = await ArtifactStore(f"file://{folder.absolute()}/artifacts").put_bytes(profile.to_json().encode())  # noqa: ASYNC240
    return artifact.sha256


async def observe(core: Core, frames: Iterable[pb.PredictionLogged], cause: str = "frame") -> None:
    """One batch."""
    await core.observe.frames([decoding.frame(f) for f in frames], {"prediction.logged/0": 1}, cause)


async def take_in(core: Core, outcomes: Sequence[pb.OutcomeRecorded], ids: Sequence[str] = (), start: int = 0) -> None:
    """One batch of outcome.recorded."""
    batch = [received(o, ids[i] if ids else f"e{start + i}", start + i) for i, o in enumerate(outcomes)]
    await core.take_in([decoding.outcome(r) for r in batch], {"outcome.recorded/0": start + len(outcomes)}, "outcome")


def received(payload: Any, id_: str, offset: int = 0, partition: int = 0) -> Received:
    """As the bus hands it over."""
    topic = "outcome.recorded" if isinstance(payload, pb.OutcomeRecorded) else "prediction.logged"
    return Received(
        event=said(payload, id=id_), topic=topic, partition=partition, offset=offset, timestamp_ms=1_762_000_000_000
    )


async def outbox_topics(core: Core) -> list[str]:
    """Topics of the events that wait, in order."""
    async with core.records.connection() as tx:
        return [row[0] for row in await tx.execute(text("SELECT topic FROM outbox ORDER BY id"))]


async def story(core: Core, model: str = "flights") -> list[tuple[Any, ...]]:
    """What was told of episodes, oldest first: the same story has the same ids."""
    told = await core.history.episodes(model, "", False, 1000, None)
    return sorted(
        (str(t.episode.kind), t.episode.started_us, t.episode.id, tuple((x.state, x.event_id) for x in t.transitions))
        for t in told
    )


__all__ = [
    "DAY_US",
    "HOUR_US",
    "NOW",
    "a_core",
    "observe",
    "outbox_topics",
    "put_profile",
    "received",
    "stamp",
    "story",
    "take_in",
]
