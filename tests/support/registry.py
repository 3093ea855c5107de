"""Builders for tests of the registry: models as ONNX bytes, a running registry, the calls that a test makes often."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1.registry_pb2_grpc import RegistryServiceStub
from gyrostat_common import bus, rpc
from gyrostat_common.clock import FixedClock
from gyrostat_common.ids import CountingIds
from gyrostat_common.times import to_proto
from gyrostat_registry.app import App, opened
from gyrostat_registry.settings import Settings
from support.waiting import becomes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT_TIME = datetime(2013, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def onnx_bytes(weight: float = 1.0, inputs: tuple[str, ...] = ("x",), out: str = "probabilities") -> bytes:
    """A small served graph: inputs FP32 [-1, 1], the output FP32 [-1, 1]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in inputs]
    answer = helper.make_tensor_value_info(out, TensorProto.FLOAT, [None, 1])
    held = helper.make_tensor("w", TensorProto.FLOAT, [1], [weight])
    graph = helper.make_graph([helper.make_node("Mul", [inputs[0], "w"], [out])], "g", values, [answer], [held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


def a_spec(**changes: Any) -> model_pb2.ModelSpec:
    """A spec of a binary model whose autopilot is on."""
    values: dict[str, Any] = {
        "owner": "ann@example.org",
        "team": "flights",
        "task": model_pb2.TASK_BINARY,
        "autopilot": model_pb2.AUTOPILOT_MODE_ON,
    }
    return model_pb2.ModelSpec(**{**values, **changes})


def passing_gates() -> list[model_pb2.GateResult]:
    """Numbers within every default threshold."""
    return [
        model_pb2.GateResult(gate="parity", numbers={"max_difference": 1e-7, "label_flips": 0}),
        model_pb2.GateResult(gate="quality", numbers={"loss_delta_upper": -0.01}),
        model_pb2.GateResult(gate="calibration", numbers={"ece": 0.01}),
        model_pb2.GateResult(gate="latency", numbers={"ratio": 1.1}),
        model_pb2.GateResult(gate="size", numbers={"bytes": 50_000}),
    ]


def refused_gates() -> list[model_pb2.GateResult]:
    """Numbers that one default threshold refuses."""
    others = [gate for gate in passing_gates() if gate.gate != "quality"]
    return [*others, model_pb2.GateResult(gate="quality", numbers={"loss_delta_upper": 0.02})]


@dataclass
class Registry:
    """A running registry as a client sees it, on a bus in memory (or on Kafka) and a clock that stands still."""

    app: App
    stub: RegistryServiceStub
    log: Any
    clock: FixedClock
    settings: Settings

    async def upload(self, content: bytes, name: str = "model.onnx") -> str:
        """The digest it was stored under."""
        size = 100_000
        parts = [pb.UploadArtifactRequest(header={"name": name})]
        parts += [pb.UploadArtifactRequest(chunk=content[at : at + size]) for at in range(0, len(content), size)]
        stored = await self.stub.UploadArtifact(iter(parts))
        assert stored.artifact.sha256 == hashlib.sha256(content).hexdigest()
        return str(stored.artifact.sha256)

    async def model(self, name: str = "flights", **changes: Any) -> model_pb2.Model:
        """A new model."""
        made = await self.stub.CreateModel(pb.CreateModelRequest(name=name, spec=a_spec(**changes)))
        return made.model

    async def version(
        self, model: str = "flights", weight: float = 1.0, gates: list[model_pb2.GateResult] | None = None, **more: Any
    ) -> pb.CreateModelVersionResponse:
        """A new version; without `gates` it passed them all."""
        sha256 = await self.upload(onnx_bytes(weight))
        request = pb.CreateModelVersionRequest(
            model=model, artifact_sha256=sha256, gates=passing_gates() if gates is None else gates, **more
        )
        if not request.HasField("event_time"):
            request.event_time.CopyFrom(to_proto(EVENT_TIME))
        return await self.stub.CreateModelVersion(request)

    async def plan(self, model: str = "flights") -> events_pb2.ServingPlan:
        """The plan in force."""
        return (await self.stub.GetPlan(pb.GetPlanRequest(model=model))).plan

    async def judge(
        self, verdict: events_pb2.Verdict, at: datetime, model: str = "flights", **changes: Any
    ) -> bus.Event:
        """The monitor says `verdict` on the plan in force; returns when the registry has taken it in."""
        plan = await self.plan(model)
        values: dict[str, Any] = {
            "rollout_id": plan.rollout_id,
            "environment": plan.environment,
            "model": model,
            "version": plan.judge_version,
            "baseline": plan.judge_baseline,
            "plan_revision": plan.revision,
            "verdict": verdict,
            "watermark": to_proto(at),
            "paired_rows": 900,
            "summary": "paired loss difference -0.01",
        }
        event = bus.Event(
            payload=events_pb2.CanaryJudged(**{**values, **changes}), key=model, subject=model,
            source="gyrostat-monitor", time=NOON,
        )  # fmt: skip
        await self.say(event)
        return event

    async def said(self, message: type[Message]) -> list[bus.Event]:
        """What the registry has said, once its outbox is empty."""
        await becomes(self.app.core.announcer.waiting, 0)
        return list(self.log.events(message))

    async def say(self, event: bus.Event) -> None:
        """Puts an event on the bus in memory and waits until it was handled."""
        async with self.log.producer() as producer:
            await producer.send(event)
        await self.log.settled()


@asynccontextmanager
async def running(
    folder: Path, log: Any | None = None, clock: FixedClock | None = None, ids: str = "id", **changes: Any
) -> AsyncIterator[Registry]:
    """A registry with its own folder, on free ports. Ids count up: a restart on the same folder takes other `ids`."""
    log = bus.MemoryBus() if log is None else log
    clock = clock or FixedClock(NOON)
    values = {"data": {"folder": folder}, "grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", **changes}
    settings = Settings(**values)
    async with (
        opened(settings, log, clock, CountingIds(ids)) as app,
        rpc.connect(f"127.0.0.1:{app.port}", actor="ann", timeout_s=30) as channel,
    ):
        yield Registry(app, RegistryServiceStub(channel), log, clock, settings)
