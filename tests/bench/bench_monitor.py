"""What a row costs the monitor: decoding, windows and join, archive, outcomes; the figures of docs/monitor.md.

`.venv/bin/python tests/bench/bench_monitor.py [--runs 3] [--cpus 1] [--frames 600] [--rows 100] [--features 16]`. CPU
of this process, in µs a row; the peer is protobuf's own parsing of the same bytes. A third of the rows are answers,
the rest are scored by two shadows. With DATABASE_URL set, on that database. Asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

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
from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.domain.outcomes import Outcome, Ref
from gyrostat_monitor.events import decoding
from gyrostat_monitor.settings import Settings
from support.frames import a_frame, a_plan, planned, prediction_id
from support.measuring import Figure, arguments, begin

T = TypeVar("T")

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


class Feeding:
    """The same rows, fed to a fresh monitor stage by stage. CPU µs of each stage, by name."""

    def __init__(self, frames: int, rows: int, features: int) -> None:
        self.raw, self.reference, self.scores = frames_of(frames, rows, features)
        self.rows = frames * rows
        times = START_US + np.arange(self.reference.num_rows) * HOUR_US // 45
        self.labels = (np.random.default_rng(2).random(self.reference.num_rows) < self.scores).astype(float)
        self.profile = build_profile(self.reference, self.scores, self.labels, times, {}, "binary")
        self.spent: dict[str, list[float]] = {}

    async def once(self, folder: Path) -> None:
        """One run; adds a figure to every stage."""
        settings = Settings(data={"folder": str(folder)})  # type: ignore[arg-type]
        await ArtifactStore(settings.artifacts_uri).put_bytes(self.profile.to_json().encode())
        url = os.environ.get("DATABASE_URL", settings.database_url)
        async with database.open(url, migrations="gyrostat_monitor.migrations") as db:
            core = core_of(settings, db, FixedClock(datetime(2026, 11, 1, tzinfo=UTC)), RandomIds())
            await core.plans(decoding.plan(self._plan()), "plan")
            with self._stage("parsing by protobuf alone", self.rows):
                parsed = [pb.PredictionLogged.FromString(raw) for raw in self.raw]
            with self._stage("decode", self.rows):
                decoded = [decoding.frame(frame) for frame in parsed]
            with self._stage("windows and join", self.rows):
                for some in in_batches(decoded, BATCH):
                    await core.observe.frames(some, {}, "event")
            with self._stage("archive", self.rows):
                for some in in_batches(decoded, 10 * BATCH):
                    await core.archiving.frames(some)
            outcomes = self._outcomes(decoded)
            with self._stage("an outcome with three answers", len(outcomes)):
                for one in in_batches(outcomes, 1000):
                    await core.take_in(one, {}, "event")

    def _plan(self) -> pb.ServingPlan:
        plan = a_plan(1, 1, self.profile.sha256)
        for version in (2, 3):
            plan.shadows.add().version.CopyFrom(planned(version, self.profile.sha256))
        return plan

    def _outcomes(self, decoded: Sequence[Frame]) -> list[Outcome]:
        """One per answer, at most 50,000, the last ones."""
        return [
            Outcome(f"o{f.frame_no}-{f.stream}-{r}", "flights", Ref(prediction=(f.ids[r], 0)), float(self.labels[r]),
                    int(f.event_us[r]) + HOUR_US, 1, 1, "bench", 1.0)
            for f in decoded if f.version == 1 for r in range(f.rows)
        ][-50_000:]  # fmt: skip

    @contextmanager
    def _stage(self, name: str, count: int) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent.setdefault(name, []).append((time.process_time() - began) / count * 1e6)


def in_batches(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """As they lie, `size` at a time."""
    for start in range(0, len(things), size):
        yield things[start : start + size]


def main() -> None:
    """Run the command line and print the figures."""
    parser = arguments(__doc__, runs=3)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--features", type=int, default=16)
    given = parser.parse_args()
    begin("A row in the monitor", given.cpus)
    feeding = Feeding(given.frames, given.rows, given.features)
    for _ in range(given.runs + 1):
        with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as folder:
            asyncio.run(feeding.once(Path(folder)))
    figures = [Figure(name, "µs", tuple(values[1:])) for name, values in feeding.spent.items()]
    for figure in figures:
        print(figure.line(figures[0] if figure is not figures[0] else None))


if __name__ == "__main__":
    main()
