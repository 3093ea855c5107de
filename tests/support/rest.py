"""The service on both its doors, gRPC and REST, without a log: real graphs, no record."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc

from gyrostat_common import oip, rpc
from gyrostat_common.health import Health
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import Answer, Call, Output
from gyrostat_inference.domain.engine_settings import Opening
from gyrostat_inference.domain.live import LiveModels, LoadedVersion, live_model
from gyrostat_inference.domain.plan import ArtifactRef, Plan, PlannedVersion, ServingSpec
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import chosen_outputs, rows_of
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.service import http
from gyrostat_inference.service.protocol import QUIET, InferenceService
from gyrostat_inference.service.rest import Rest
from support.graphs import GraphFile

KEY = b"k" * 32


class Scoring:
    """Stands in for `usecases.predict`: the plan, the checks and the graph are the real ones; nothing is recorded."""

    def __init__(self, models: LiveModels) -> None:
        self._models = models

    async def answer(self, call: Call, deadline: float | None = None) -> Answer:
        live = self._models.get(call.model)
        if live is None:
            raise self._models.unknown(call.model)
        taken = routing.attempts(live.plan, live.loaded, call.version, call.prediction_id.hex())[0]
        version = live.loaded[taken.number]
        rows_of(version.name, version.signature, call.tensors, live.known_inputs, live.plan.spec.max_rows)
        chosen = chosen_outputs(version.name, version.signature, call.outputs)
        arrays = version.scorer.run({spec.name: call.tensors[spec.name].values for spec in version.signature.inputs})
        outputs = [
            Output(spec.name, spec.datatype, array, oip.to_raw(array))
            for spec, array in zip(version.signature.outputs, arrays, strict=True)
        ]
        return Answer(taken.number, taken.variant, live.plan.revision, [outputs[place] for place in chosen])


@dataclass
class Doors:
    """Both doors of one service."""

    stub: oip.Stub
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    rest_port: int
    models: LiveModels
    health: Health

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(path, **options) as reply:
            return reply.status, await reply.json(content_type=None)

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.post(path, **options) as reply:
            return reply.status, await reply.json(content_type=None)


def load(models: LiveModels, limits: RunLimits, folder: Path, graphs: Mapping[str, GraphFile], max_rows: int) -> None:
    """Every graph as version 4 of a model of its name."""
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.raw)
        scorer = Graph(f"{name}:4", folder / f"{name}.onnx", Opening(), limits)
        planned = PlannedVersion(4, ArtifactRef(graph.sha256), scorer.signature)
        plan = Plan("production", name, 7, planned, spec=ServingSpec(max_rows=max_rows))
        models.swap(live_model(plan, {4: LoadedVersion(name, planned, scorer, Keeping({}, {}, KEY))}, {}))


@asynccontextmanager
async def doors(
    folder: Path,
    graphs: Mapping[str, GraphFile],
    limits: http.Limits | None = None,
    max_rows: int = 16,
    transport: rpc.Transports = rpc.grpcio,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Doors]:
    """The service with these models, open on free ports; REST with TLS where there is a context."""
    health, models = Health(), LiveModels()
    health.parts(models.answering)
    rest = Rest(health)
    with RunLimits(5.0) as runs:
        load(models, runs, folder, graphs, max_rows)
        service = InferenceService(cast(Any, Scoring(models)), models, lambda: health.look().reason)
        offered = [rpc.Service(service, oip.add_servicer, oip.SERVICE, QUIET)]
        async with (
            http.listening("127.0.0.1:0", rest.answer, limits or http.Limits(), context) as rest_port,
            rpc.listen("127.0.0.1:0", health, transport=transport) as server,
            rest.serving(service),
            server.serving(offered, [oip.POOL]),
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            aiohttp.ClientSession(f"http://127.0.0.1:{rest_port}") as session,
        ):
            yield Doors(oip.Stub(channel), session, channel, rest_port, models, health)
