"""What a caller can ask: decode, use case, encode."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import rpc, telemetry
from gyrostat_common.database import Database
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_proto, to_us
from gyrostat_trainer import wire
from gyrostat_trainer.domain.errors import DatasetInvalid
from gyrostat_trainer.domain.runs import DatasetFacts, Decision, Progress, Run
from gyrostat_trainer.usecases.datasets import Datasets, Import
from gyrostat_trainer.usecases.runs import Runs, Start, Wish

NAME = "gyrostat.trainer.v1.TrainerService"
Context = grpc.aio.ServicerContext[Any, Any]
LARGEST_IMPORT_BYTES = 8 << 30


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    """One method per RPC."""

    def __init__(self, db: Database, start: Start, runs: Runs, datasets: Datasets, environment: str) -> None:
        self._db, self._start, self._runs, self._datasets = db, start, runs, datasets
        self._environment = environment

    async def StartTraining(
        self, request: trainer_pb2.StartTrainingRequest, context: Context
    ) -> trainer_pb2.StartTrainingResponse:
        until = from_proto(request.until) if request.HasField("until") else None
        wish = Wish(
            request_id=request.request_id,
            model=request.model,
            reason=request.reason,
            parameters_json=request.parameters_json,
            until_us=to_us(until) if until else None,
            hold=request.hold,
            actor=rpc.actor(),
            environment=self._environment,
            traceparent=telemetry.current_traceparent(),
        )
        run = await self._start.start(wish)
        return trainer_pb2.StartTrainingResponse(run=encode_run(*await self._runs.get(run.id)))

    @rpc.once(lambda self: self._db)
    async def CancelTraining(
        self, request: trainer_pb2.CancelTrainingRequest, context: Context
    ) -> trainer_pb2.CancelTrainingResponse:
        run = await self._runs.cancel(request.run_id, request.reason, rpc.actor())
        return trainer_pb2.CancelTrainingResponse(run=encode_run(*await self._runs.get(run.id)))

    async def GetRun(self, request: trainer_pb2.GetRunRequest, context: Context) -> trainer_pb2.GetRunResponse:
        return trainer_pb2.GetRunResponse(run=encode_run(*await self._runs.get(request.run_id)))

    async def ListRuns(self, request: trainer_pb2.ListRunsRequest, context: Context) -> trainer_pb2.ListRunsResponse:
        page, token = await self._runs.page(request.model, request.page_size, request.page_token)
        return trainer_pb2.ListRunsResponse(runs=[encode_run(*found) for found in page], next_page_token=token)

    async def WatchRun(
        self, request: trainer_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[trainer_pb2.WatchRunResponse]:
        async for run, progress in self._runs.watch(request.run_id):
            yield trainer_pb2.WatchRunResponse(run=encode_run(run, progress))

    async def ListDecisions(
        self, request: trainer_pb2.ListDecisionsRequest, context: Context
    ) -> trainer_pb2.ListDecisionsResponse:
        page, token = await self._runs.decisions(request.model, request.page_size, request.page_token)
        return trainer_pb2.ListDecisionsResponse(decisions=[encode_decision(d) for d in page], next_page_token=token)

    async def ImportDataset(
        self, request_iterator: AsyncIterator[trainer_pb2.ImportDatasetRequest], context: Context
    ) -> trainer_pb2.ImportDatasetResponse:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput("the first message of an import must be its header")
        header = first.header
        wanted = Import(header.request_id, header.dataset, header.sha256, header.append, rpc.actor())
        self._datasets.check(wanted)
        with tempfile.TemporaryDirectory(prefix="gyrostat-import-") as folder:
            path = Path(folder) / "dataset.parquet"
            await _receive(request_iterator, path)
            return trainer_pb2.ImportDatasetResponse(dataset=encode_dataset(await self._datasets.take_in(wanted, path)))

    async def ListDatasets(
        self, request: trainer_pb2.ListDatasetsRequest, context: Context
    ) -> trainer_pb2.ListDatasetsResponse:
        return trainer_pb2.ListDatasetsResponse(datasets=[encode_dataset(d) for d in await self._datasets.all()])


async def _receive(parts: AsyncIterator[trainer_pb2.ImportDatasetRequest], path: Path) -> None:
    size = 0
    with path.open("wb") as sink:
        async for part in parts:
            if part.WhichOneof("part") != "chunk":
                raise InvalidInput("after the header an import has chunks only")
            size += len(part.chunk)
            if size > LARGEST_IMPORT_BYTES:
                raise DatasetInvalid(
                    f"the file is larger than {LARGEST_IMPORT_BYTES:,} bytes; import it in parts with append"
                )
            sink.write(part.chunk)


def encode_run(run: Run, progress: Progress) -> trainer_pb2.TrainingRun:
    """A run with its progress."""
    return trainer_pb2.TrainingRun(
        run=wire.run(run),
        progress=trainer_pb2.Progress(
            fraction=progress.fraction, stage=progress.stage, eta_s=progress.eta_s, text=progress.text
        ),
        gates=[wire.gate(result) for result in run.gates],
        watermark=wire.stamp(run.watermark_us),
        attached_causes=run.causes[1:],
    )


def encode_decision(decision: Decision) -> trainer_pb2.Decision:
    """What was decided about a cause."""
    return trainer_pb2.Decision(
        cause=decision.cause,
        model=decision.model,
        action=decision.action,
        reason=decision.reason,
        watermark=wire.stamp(decision.watermark_us),
        at=wire.stamp(decision.at_us),
        run_id=decision.run_id,
        event_id=decision.event_id,
    )


def encode_dataset(dataset: DatasetFacts) -> trainer_pb2.Dataset:
    """A dataset at its newest version."""
    return trainer_pb2.Dataset(
        name=dataset.name,
        delta_version=dataset.delta_version,
        rows=dataset.rows,
        uri=dataset.uri,
        updated_at=wire.stamp(dataset.updated_at_us),
    )
