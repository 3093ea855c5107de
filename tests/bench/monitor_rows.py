"""How many rows a second the monitor takes in: decoding, windows and join, archive, outcomes. CPU seconds.

    python tests/bench/monitor_rows.py [frames] [rows a frame] [features]

Prints figures, asserts nothing. A third of the rows are answers, the rest are scored by two shadows.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))
from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import database
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.clock import FixedClock
from gyrostat_common.ids import RandomIds
from gyrostat_common.profile import build_profile
from gyrostat_monitor.app import core_of
from gyrostat_monitor.domain.outcomes import Outcome, Ref
from gyrostat_monitor.events import decoding
from gyrostat_monitor.settings import Settings
from support.frames import a_frame, a_plan, planned, prediction_id

HOUR_US = 3_600_000_000
BATCH = 20
START_US = 1_362_096_000_000_000


def frames_of(count: int, rows: int, features: int) -> tuple[list[bytes], pa.Table, np.ndarray]:
    """Serialised frames in event order, and a reference."""
    rng = np.random.default_rng(1)
    numeric = {f"x{i}": rng.normal(size=(count, rows)).astype(np.float32) for i in range(features - 4)}
    words = {f"c{i}": rng.choice(["a", "b", "c", "d"], (count, rows)) for i in range(4)}
    scores = rng.random((count, rows))
    out, numbers = [], {}
    for i in range(count):
        group, version = i // 3, i % 3 + 1
        stream = f"s/flights/{group % 3}"
        numbers[stream] = numbers.get(stream, 0) + 1
        ids = [prediction_id(group * rows + r) for r in range(rows)]
        events = (START_US + (group * rows + np.arange(rows)) * HOUR_US // 45).tolist()
        inputs = {**{k: v[group] for k, v in numeric.items()}, **{k: v[group].tolist() for k, v in words.items()}}
        role = pb.ROLE_ANSWER if version == 1 else pb.ROLE_SHADOW
        frame = a_frame(
            numbers[stream], ids, events, scores[group], inputs, stream=stream, version=version, role=role,
            variant="champion" if version == 1 else "shadow",
        )  # fmt: skip
        out.append(frame.SerializeToString())
    reference = pa.table(
        {
            **{k: v.reshape(-1) for k, v in numeric.items()},
            **{k: pa.array(v.reshape(-1).tolist()) for k, v in words.items()},
        }
    )
    return out, reference, scores.reshape(-1)


async def main(count: int, rows: int, features: int) -> None:
    """Feeds everything, stage by stage."""
    raw, reference, scores = frames_of(count, rows, features)
    times = START_US + np.arange(reference.num_rows) * HOUR_US // 45
    labels = (np.random.default_rng(2).random(reference.num_rows) < scores).astype(float)
    profile = build_profile(reference, scores, labels, times, {}, "binary")
    clock = FixedClock(datetime(2026, 11, 1, tzinfo=UTC))
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as folder:
        settings = Settings(data={"folder": folder})  # type: ignore[arg-type]
        await ArtifactStore(settings.artifacts_uri).put_bytes(profile.to_json().encode())
        url = os.environ.get("DATABASE_URL", settings.database_url)
        async with database.open(url, migrations="gyrostat_monitor.migrations") as db:
            core = core_of(settings, db, clock, RandomIds())
            plan = a_plan(1, 1, profile.sha256)
            for version in (2, 3):
                plan.shadows.add().version.CopyFrom(planned(version, profile.sha256))
            await core.plans(decoding.plan(plan), "plan")
            total = count * rows

            def tell(what: str, cpu: float, wall: float, n: int = total) -> None:
                print(
                    f"{what:<22} {n / cpu:>10,.0f} rows per CPU second  {n / wall:>10,.0f} rows/s"
                    f"  {cpu / n * 1e6:6.1f} µs/row"
                )

            start = time.process_time(), time.perf_counter()
            decoded = [decoding.frame(pb.PredictionLogged.FromString(r)) for r in raw]
            tell("decode", *since(start))
            start = time.process_time(), time.perf_counter()
            for i in range(0, count, BATCH):
                await core.observe.frames(decoded[i : i + BATCH], {}, "event")
            tell("windows and join", *since(start))
            start = time.process_time(), time.perf_counter()
            for i in range(0, count, 10 * BATCH):
                await core.archiving.frames(decoded[i : i + 10 * BATCH])
            tell("archive", *since(start))
            known = [f for f in decoded if f.version == 1]
            outcomes = [
                Outcome(f"o{f.frame_no}-{f.stream}-{r}", "flights", Ref(prediction=(f.ids[r], 0)), float(labels[r]),
                        int(f.event_us[r]) + HOUR_US, 1, 1, "bench", 1.0)
                for f in known for r in range(f.rows)
            ][-50_000:]  # fmt: skip
            start = time.process_time(), time.perf_counter()
            for i in range(0, len(outcomes), 1000):
                await core.take_in([("bench", o) for o in outcomes[i : i + 1000]], {}, "event")
            tell("outcomes", *since(start), len(outcomes))


def since(start: tuple[float, float]) -> tuple[float, float]:
    """CPU and wall seconds."""
    return time.process_time() - start[0], time.perf_counter() - start[1]


if __name__ == "__main__":
    given = [int(a) for a in sys.argv[1:]]
    profiler = cProfile.Profile() if os.environ.get("PROFILE") else None
    if profiler:
        profiler.enable()
    asyncio.run(main(*(given + [600, 100, 16][len(given) :])))
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
