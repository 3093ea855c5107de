"""A running inference service for integration tests: its settings, its plans, calls to it, and what it logged."""

from __future__ import annotations

import asyncio
import random
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import bus, oip
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.bus import Bus, Event, Received, Route, topics
from gyrostat_common.settings import KafkaSettings
from gyrostat_inference.app import open_app
from gyrostat_inference.settings import Settings
from support.graphs import GraphFile
from support.waiting import WITHIN_S, eventually

LIMIT_S = WITHIN_S


def quiet_port() -> int:
    """A free port below the range from which the kernel serves outgoing connections: nobody takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


async def until(true: Callable[[], Any | Awaitable[Any]], limit_s: float = LIMIT_S) -> Any:
    """What `true` gives, as soon as it is truthy. Looks again and again; fails after the limit."""
    return await eventually(true, within_s=limit_s)


@dataclass
class Place:
    """Folders, ports and Kafka of one inference service, which may be started more than once."""

    folder: Path
    kafka: KafkaSettings
    port: int = field(default_factory=quiet_port)
    metrics_port: int = field(default_factory=quiet_port)
    rest_port: int = field(default_factory=quiet_port)
    options: dict[str, Any] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        given = {
            "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "GYROSTAT_KAFKA__TOPIC_PREFIX": self.kafka.topic_prefix,
            "GYROSTAT_DATA__FOLDER": str(self.folder),
            "GYROSTAT_INFERENCE__GRPC_ADDRESS": f"127.0.0.1:{self.port}",
            "GYROSTAT_INFERENCE__METRICS_ADDRESS": f"127.0.0.1:{self.metrics_port}",
            "GYROSTAT_INFERENCE__REST_ADDRESS": f"127.0.0.1:{self.rest_port}",
            "GYROSTAT_INFERENCE__HEARTBEAT_S": "0.5",
        }
        return given | {f"GYROSTAT_INFERENCE__{name.upper()}": str(value) for name, value in self.options.items()}

    def settings(self) -> Settings:
        return Settings.load(self.environ())

    async def store(self, *graphs: GraphFile | bytes) -> None:
        """Puts artifacts where the service looks for them."""
        store = ArtifactStore(self.settings().artifacts_uri)
        for graph in graphs:
            await store.put_bytes(graph if isinstance(graph, bytes) else graph.raw)


class Caller:
    """Calls the service as a backend would, and reads the log as the monitor would."""

    def __init__(self, place: Place, channel: grpc.aio.Channel, log: Bus, producer: Any) -> None:
        self.place, self.stub = place, oip.Stub(channel)
        self._log, self._producer = log, producer

    async def plan(self, plan: pb.ServingPlan, applied: bool = True) -> None:
        """Publishes a plan as the registry does, and waits until it is in force."""
        await self._producer.send(
            Event(
                payload=plan,
                key=f"{plan.environment}/{plan.model}",
                subject=plan.model,
                source="gyrostat-registry",
                time=datetime.now(UTC),
            )
        )
        if applied:
            await until(lambda: self.serves(plan.model, plan.revision))

    async def serves(self, model: str, revision: int) -> bool:
        """Whether the champion answers under this revision (a retired model: whether it is gone)."""
        try:
            metadata = await self.stub.ModelMetadata(oip.ModelMetadataRequest(name=model))
        except grpc.aio.AioRpcError as error:
            words = error.details() or ""
            return f"revision {revision}" in words and "being loaded" not in words
        return bool(metadata.properties["revision"] == str(revision))

    async def infer(self, model: str, inputs: Mapping[str, Any], **options: Any) -> oip.ModelInferResponse:
        """One raw call; `parameters` and `version` by name, everything else as fields of the request."""
        request = a_request(model, inputs, **options)
        return await self.stub.ModelInfer(request, timeout=20)

    async def logged(self, rows: int, model: str = "flights", limit_s: float = LIMIT_S) -> list[Received]:
        """The model's frames of prediction.logged from the beginning, as soon as they hold that many rows."""
        frames: list[Received] = []
        enough = asyncio.Event()

        async def hear(received: Received) -> None:
            if payload(received).model == model:
                frames.append(received)
            if sum(payload(frame).rows for frame in frames) >= rows:
                enough.set()

        async with self._log.consume(f"test-{uuid.uuid4().hex}", [Route(pb.PredictionLogged, hear)]):
            async with asyncio.timeout(limit_s):
                await enough.wait()
        return frames

    async def heartbeat(self, wanted: Callable[[pb.PlanApplied], bool], limit_s: float = LIMIT_S) -> pb.PlanApplied:
        """The first plan.applied that is wanted."""
        found: list[pb.PlanApplied] = []
        heard = asyncio.Event()

        async def hear(received: Received) -> None:
            assert isinstance(received.event.payload, pb.PlanApplied)
            if wanted(received.event.payload):
                found.append(received.event.payload)
                heard.set()

        async with self._log.consume(f"test-{uuid.uuid4().hex}", [Route(pb.PlanApplied, hear)]):
            async with asyncio.timeout(limit_s):
                await heard.wait()
        return found[0]


def payload(received: Received) -> pb.PredictionLogged:
    assert isinstance(received.event.payload, pb.PredictionLogged)
    return received.event.payload


def a_request(
    model: str, inputs: Mapping[str, Any], version: str = "", parameters: Mapping[str, Any] | None = None, **fields: Any
) -> oip.ModelInferRequest:
    """A raw request; lists become FP32 columns, lists of text BYTES columns."""
    request = oip.ModelInferRequest(model_name=model, model_version=version, **fields)
    for name, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else np.array([[v] for v in value])
        if array.dtype == np.float64 and not isinstance(value, np.ndarray):
            array = array.astype(np.float32)
        oip.add_input(request, name, array)
    for name, given in (parameters or {}).items():
        request.parameters[name].CopyFrom(oip.parameter(given))
    return request


@asynccontextmanager
async def calling(place: Place) -> AsyncIterator[Caller]:
    """A caller of a service that runs elsewhere."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{place.port}"))
        log = await stack.enter_async_context(bus.open(place.kafka))
        yield Caller(place, channel, log, await stack.enter_async_context(log.producer()))


@asynccontextmanager
async def a_service(place: Place) -> AsyncIterator[Caller]:
    """The service through `open_app`, in this process, with its topics made."""
    await topics.apply(place.kafka)
    async with open_app(place.settings()), calling(place) as caller:
        yield caller
