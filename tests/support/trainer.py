"""Builders for the trainer: rows of a world that changes, an archive as the monitor writes it, a registry."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2, registry_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.bus import Event, MemoryBus
from gyrostat_common.errors import NotFound
from gyrostat_common.ids import uuid7
from gyrostat_common.times import from_us, to_proto
from gyrostat_trainer.app import Running, open_with
from gyrostat_trainer.settings import Settings

MODEL = "delays"
DAY_US = 86_400_000_000
BEGIN_US = 1_357_000_000_000_000
INSTANT = pa.timestamp("us", "UTC")


def instants(us: Any) -> pa.Array:
    """Microseconds as an Arrow time."""
    return pa.array(np.asarray(us, dtype=np.int64)).cast(INSTANT)


def labelled_rows(
    days: int, *, per_day: int = 200, first_day: int = 0, turned: bool = False, seed: int = 0
) -> pa.Table:
    """Rows whose label depends on wind, hour and carrier; `turned` turns the dependence around."""
    rng = np.random.default_rng([seed, first_day])
    n = days * per_day
    times = BEGIN_US + first_day * DAY_US + np.sort(rng.integers(0, days * DAY_US, n))
    carrier = rng.choice(["AA", "B6", "DL", "UA", "WN"], n, p=[0.3, 0.25, 0.2, 0.2, 0.05])
    wind = rng.gamma(3.0, 3.0, n).astype(np.float32)
    hour = rng.integers(5, 23, n).astype(np.float32)
    late_carrier = np.isin(carrier, ["B6", "WN"]) * 1.0
    sign = -1.0 if turned else 1.0
    margin = -1.2 + sign * (0.22 * (wind - 9) + 0.9 * late_carrier) + 0.08 * (hour - 14)
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.float64)
    wind[rng.random(n) < 0.05] = np.nan
    columns = {"carrier": pa.array(carrier), "wind": pa.array(wind), "hour": pa.array(hour)}
    return pa.table({"event_time": instants(times), "label": pa.array(label), **columns})


def write_archive(
    folder: Path, rows: pa.Table, *, version: int = 1, stream: str = "s/delays/0", frame_no: int = 1
) -> None:
    """Answers and outcomes as the monitor archives them: each answer with a shadow, every tenth without outcome."""
    n = rows.num_rows
    ids = [f"{uuid7()}/0" for _ in range(n)]
    times = rows.column("event_time").combine_chunks()
    days = times.cast(pa.date32())
    common = {
        "prediction_id": pa.array(ids),
        "version": pa.array([version] * n, pa.int64()),
        "variant": pa.array(["champion"] * n),
        "environment": pa.array(["production"] * n),
        "event_time": times,
        "arrival_time": times,
        "stream": pa.array([stream] * n),
        "frame_no": pa.array([frame_no] * n, pa.int64()),
        "event_date": days,
        **{f"in_{name}": rows.column(name) for name in ("carrier", "wind", "hour")},
    }
    answers = pa.table({**common, "role": pa.array(["answer"] * n)})
    shadows = pa.table({**common, "role": pa.array(["shadow"] * n)})
    _append(folder / "predictions" / MODEL, pa.concat_tables([answers, shadows]), stream, frame_no)
    known = np.arange(n) % 10 != 9
    outcomes = pa.table(
        {
            "prediction_id": pa.array(ids),
            "value": rows.column("label"),
            "observed_at": times,
            "recorded_at": times,
            "source": pa.array(["feed"] * n),
            "event_id": pa.array([f"e{i:09d}" for i in range(n)]),
            "weight": pa.array(np.ones(n)),
            "event_date": days,
        }
    ).filter(pa.array(known))
    _append(folder / "outcomes" / MODEL, outcomes, f"outcomes/{stream}", frame_no)


def _append(path: Path, table: pa.Table, app: str, version: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    done = CommitProperties(app_transactions=[Transaction(app, version)])
    write_deltalake(str(path), table, mode="append", partition_by=["event_date"], commit_properties=done)


def a_spec(**retrain: Any) -> model_pb2.ModelSpec:
    """A binary model that acts on performance episodes."""
    usual = {
        "on": ["performance"],
        "min_rows": 1_000,
        "dataset": "history",
        "holdout_share": 0.25,
        "parameters_json": json.dumps({"num_boost_round": 30, "min_data_in_leaf": 20}),
    }
    return model_pb2.ModelSpec(
        owner="on-call@example.org",
        task=model_pb2.TASK_BINARY,
        score_output="probabilities",
        slices=["carrier"],
        label=model_pb2.LabelPolicy(lag_s=3_600, horizon_s=7 * 86_400),
        autopilot=model_pb2.AUTOPILOT_MODE_ON,
        retrain=model_pb2.RetrainPolicy(**{**usual, **retrain}),
    )


@dataclass
class FakeRegistry(registry_pb2_grpc.RegistryServiceServicer):
    """Keeps what it is told; the newest version that was registered becomes champion by `promote`."""

    spec: model_pb2.ModelSpec
    away: bool = False
    artifacts: dict[str, bytes] = field(default_factory=dict)
    runs: dict[str, model_pb2.Run] = field(default_factory=dict)
    versions: list[registry_pb2.CreateModelVersionRequest] = field(default_factory=list)
    champion: int = 0
    calls: list[str] = field(default_factory=list)
    at_most: dict[str, float] = field(default_factory=dict)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def _answering(self, name: str, context: Any) -> None:
        self.calls.append(name)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away for a test")

    async def GetModel(self, request: Any, context: Any) -> Any:
        await self._answering("GetModel", context)
        if request.name != MODEL:
            raise NotFound(f"no model {request.name}")
        return registry_pb2.GetModelResponse(model=model_pb2.Model(name=MODEL, spec=self.spec))

    async def GetPlan(self, request: Any, context: Any) -> Any:
        await self._answering("GetPlan", context)
        if not self.champion:
            raise NotFound("no plan")
        return registry_pb2.GetPlanResponse(plan=self.plan())

    async def GetModelVersion(self, request: Any, context: Any) -> Any:
        await self._answering("GetModelVersion", context)
        made = self.versions[int(request.version) - 1]
        artifact = model_pb2.Artifact(sha256=made.artifact_sha256)
        version = model_pb2.ModelVersion(model=MODEL, number=int(request.version), artifact=artifact, tags=made.tags)
        return registry_pb2.GetModelVersionResponse(version=version)

    async def CreateRun(self, request: Any, context: Any) -> Any:
        await self._answering("CreateRun", context)
        self.runs[request.run.id] = request.run
        return registry_pb2.CreateRunResponse(run=request.run)

    async def UpdateRun(self, request: Any, context: Any) -> Any:
        await self._answering("UpdateRun", context)
        self.runs[request.run.id] = request.run
        self.told.set()
        return registry_pb2.UpdateRunResponse(run=request.run)

    async def UploadArtifact(self, request_iterator: Any, context: Any) -> Any:
        await self._answering("UploadArtifact", context)
        content = b"".join([part.chunk async for part in request_iterator])
        digest = hashlib.sha256(content).hexdigest()
        self.artifacts[digest] = content
        return registry_pb2.UploadArtifactResponse(artifact=model_pb2.Artifact(sha256=digest, size_bytes=len(content)))

    async def DownloadArtifact(self, request: Any, context: Any) -> Any:
        await self._answering("DownloadArtifact", context)
        yield registry_pb2.DownloadArtifactResponse(chunk=self.artifacts[request.sha256])

    async def CreateModelVersion(self, request: Any, context: Any) -> Any:
        await self._answering("CreateModelVersion", context)
        known = [i for i, made in enumerate(self.versions) if made.request_id == request.request_id]
        if not known:
            self.versions.append(request)
            known = [len(self.versions) - 1]
        judged = [self._judged(gate) for gate in request.gates]
        refused = [gate.reason for gate in judged if not gate.passed]
        stage = model_pb2.STAGE_REJECTED if refused else model_pb2.STAGE_CANDIDATE
        version = model_pb2.ModelVersion(model=MODEL, number=known[0] + 1, stage=stage, gates=judged)
        return registry_pb2.CreateModelVersionResponse(version=version)

    def _judged(self, gate: model_pb2.GateResult) -> model_pb2.GateResult:
        over = [n for n, value in gate.numbers.items() if value > self.at_most.get(f"{gate.gate}.{n}", value)]
        reason = f"{', '.join(over)} too large" if over else "held"
        return model_pb2.GateResult(gate=gate.gate, numbers=gate.numbers, passed=not over, reason=reason)

    def plan(self) -> events_pb2.ServingPlan:
        """The plan in force."""
        return events_pb2.ServingPlan(
            environment="production",
            model=MODEL,
            revision=self.champion,
            champion=events_pb2.PlannedVersion(number=self.champion),
            spec=self.spec,
        )

    async def promote(self, bus: MemoryBus, number: int) -> None:
        """Makes a version champion and says so in the plan."""
        self.champion = number
        await say(bus, self.plan(), f"production/{MODEL}", "gyrostat-registry")


@dataclass
class HesitantRegistry(FakeRegistry):
    """Tells a plan only when it may."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_tell: asyncio.Event = field(default_factory=asyncio.Event)

    async def GetPlan(self, request: Any, context: Any) -> Any:
        self.asked.set()
        await self.may_tell.wait()
        return await super().GetPlan(request, context)


async def say(bus: MemoryBus, payload: Any, key: str, source: str, **fields: Any) -> str:
    """Sends an event and returns its id."""
    event = Event(payload=payload, key=key, subject=MODEL, source=source, time=from_us(BEGIN_US), **fields)
    async with bus.producer() as producer:
        await producer.send(event)
    return event.id


def an_episode(
    state: str,
    day: float,
    *,
    episode_id: str = "ep-1",
    kind: str = "performance",
    version: int = 1,
    started: float = 0.0,
) -> events_pb2.DriftDetected:
    """News of an episode with the watermark at a day of the test's world."""
    ended = to_proto(from_us(BEGIN_US + int(day * DAY_US))) if state in ("resolved", "superseded") else None
    return events_pb2.DriftDetected(
        episode_id=episode_id,
        environment="production",
        model=MODEL,
        version=version,
        kind=events_pb2.DriftKind.Value(f"DRIFT_KIND_{kind.upper()}"),
        state=events_pb2.EpisodeState.Value(f"EPISODE_STATE_{state.upper()}"),
        watermark=to_proto(from_us(BEGIN_US + int(day * DAY_US))),
        started_at=to_proto(from_us(BEGIN_US + int((started or day) * DAY_US))),
        ended_at=ended,
        summary="loss 0.62 against 0.50",
        exemplars=["0192/0"],
    )


@asynccontextmanager
async def serving(registry: FakeRegistry) -> AsyncIterator[str]:
    """The fake registry on a free port."""
    add = registry_pb2_grpc.add_RegistryServiceServicer_to_server
    service = rpc.Service(registry, add, "gyrostat.registry.v1.RegistryService")
    async with rpc.serve("127.0.0.1:0", [service]) as server:
        yield f"127.0.0.1:{server.port}"


def trainer_settings(folder: Path, registry: str, **more: str) -> Settings:
    """Settings below a folder, with free ports."""
    return Settings.load(
        {
            "GYROSTAT_DATA__FOLDER": str(folder),
            "GYROSTAT_LOG__LEVEL": "warning",
            "GYROSTAT_TRAINER__GRPC_ADDRESS": "127.0.0.1:0",
            "GYROSTAT_TRAINER__METRICS_ADDRESS": "127.0.0.1:0",
            "GYROSTAT_TRAINER__REGISTRY_ADDRESS": registry,
            "GYROSTAT_TRAINER__LOOK_AGAIN_S": "0.2",
            **more,
        }
    )


@asynccontextmanager
async def running_trainer(folder: Path, bus: MemoryBus, registry: str, **more: str) -> AsyncIterator[Running]:
    """A trainer on a bus in memory."""
    async with open_with(trainer_settings(folder, registry, **more), bus) as running:
        yield running
