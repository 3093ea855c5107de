"""The beginning, by hand: a model, its first data, its first version, the first promotion, and the frozen arm.

Called once by `demo`. What follows is traffic and outcomes only.
"""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pyarrow.parquet as pq

from flights import policy
from flights.services import CHUNK_BYTES, Services
from flights.year import Flights
from gyrostat.registry.v1 import registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_common import oip

PATIENCE_S = 120.0


class NotPrepared(Exception):
    """The loop could not be started; says what did not happen."""


@dataclass(frozen=True)
class Start:
    """What was set up by hand."""

    run_id: str
    version: int
    last_audit: int


async def prepare(services: Services, first: Flights, seed: int) -> Start:
    """Creates the model, trains and promotes version 1, pins it as a shadow, and waits until it answers."""
    spec = policy.model_spec(seed)
    await services.registry.CreateModel(
        registry_pb2.CreateModelRequest(request_id="flights-create", name=policy.MODEL, spec=spec)
    )
    await services.trainer.ImportDataset(_parquet(first))
    run = await _train(services)
    promoted = await services.registry.Promote(
        registry_pb2.PromoteRequest(
            request_id="flights-promote-first",
            model=policy.MODEL,
            number=run.run.version,
            reason="the first version, trained by hand on the months before the replay",
        )
    )
    version = promoted.plan.champion.number
    await services.registry.PinShadow(
        registry_pb2.PinShadowRequest(request_id="flights-pin", model=policy.MODEL, number=version, pinned=True)
    )
    await _answering(services)
    audit = await services.registry.ListAudit(registry_pb2.ListAuditRequest(page_size=1))
    return Start(run.run.id, version, audit.entries[0].number)


async def _parquet(first: Flights) -> AsyncIterator[trainer_pb2.ImportDatasetRequest]:
    buffer = io.BytesIO()
    pq.write_table(first.labelled().table(), buffer)
    content = buffer.getvalue()
    yield trainer_pb2.ImportDatasetRequest(
        header=trainer_pb2.ImportDatasetRequest.Header(
            request_id="flights-import", dataset=policy.DATASET, sha256=hashlib.sha256(content).hexdigest()
        )
    )
    for start in range(0, len(content), CHUNK_BYTES):
        yield trainer_pb2.ImportDatasetRequest(chunk=content[start : start + CHUNK_BYTES])


async def _train(services: Services) -> trainer_pb2.TrainingRun:
    started = await services.trainer.StartTraining(
        trainer_pb2.StartTrainingRequest(
            request_id="flights-train-first", model=policy.MODEL, reason="the first version, by hand", hold=True
        )
    )
    run: trainer_pb2.TrainingRun = started.run
    async with asyncio.timeout(PATIENCE_S):
        async for reply in services.trainer.WatchRun(
            trainer_pb2.WatchRunRequest(run_id=run.run.id), timeout=PATIENCE_S
        ):
            run = reply.run
    if run.run.status != "succeeded":
        raise NotPrepared(f"the first training {run.run.id} ended {run.run.status}: {run.run.error}")
    return run


async def _answering(services: Services) -> None:
    """Waits until the plan has reached the replica."""
    request = oip.ModelReadyRequest(name=policy.MODEL)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _ready(services, request):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise NotPrepared(f"inference did not load {policy.MODEL} within {PATIENCE_S:.0f} s") from error


async def _ready(services: Services, request: oip.ModelReadyRequest) -> bool:
    try:
        return bool((await services.inference.ModelReady(request)).ready)
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
            raise
        return False
