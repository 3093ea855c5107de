"""Training: runs as the trainer's ledger has them, decisions, datasets; and the runs recorded at the registry."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_client.blocking import Blocking, blocking, blocking_iterator
from gyrostat_client.calls import Endpoint, new_request_id, pages
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import to_proto

_CHUNK_BYTES = 1 << 20


class AsyncRuns:
    """What made, or may make, a version."""

    def __init__(self, trainer: Endpoint, registry: Endpoint) -> None:
        self._trainer = trainer
        self._registry = registry

    async def start(
        self,
        model: str,
        *,
        reason: str = "",
        parameters_json: str = "",
        until: datetime | None = None,
        hold: bool = False,
        request_id: str = "",
    ) -> trainer_pb2.TrainingRun:
        """Starts a training by hand; `hold` registers the version without a roll-out."""
        request = trainer_pb2.StartTrainingRequest(
            request_id=request_id or new_request_id(),
            model=model,
            reason=reason,
            parameters_json=parameters_json,
            until=to_proto(until),
            hold=hold,
        )
        return (await self._trainer.unary("StartTraining", request, trainer_pb2.StartTrainingResponse)).run

    async def cancel(self, run_id: str, *, reason: str = "", request_id: str = "") -> trainer_pb2.TrainingRun:
        """Stops a run that is queued or running."""
        request = trainer_pb2.CancelTrainingRequest(
            request_id=request_id or new_request_id(), run_id=run_id, reason=reason
        )
        return (await self._trainer.unary("CancelTraining", request, trainer_pb2.CancelTrainingResponse)).run

    async def list(self, model: str = "", *, limit: int | None = 100) -> Sequence[trainer_pb2.TrainingRun]:
        """Runs, newest first."""
        return await pages(
            lambda size, token: self._trainer.unary(
                "ListRuns",
                trainer_pb2.ListRunsRequest(model=model, page_size=size, page_token=token),
                trainer_pb2.ListRunsResponse,
            ),
            lambda page: page.runs,
            limit,
        )

    async def get(self, run_id: str) -> trainer_pb2.TrainingRun:
        """One run with its progress and gate numbers."""
        request = trainer_pb2.GetRunRequest(run_id=run_id)
        return (await self._trainer.unary("GetRun", request, trainer_pb2.GetRunResponse)).run

    async def watch(self, run_id: str) -> AsyncIterator[trainer_pb2.TrainingRun]:
        """The run now and at every change, until it ends."""
        request = trainer_pb2.WatchRunRequest(run_id=run_id)
        async for reply in self._trainer.server_stream("WatchRun", request, trainer_pb2.WatchRunResponse):
            yield reply.run

    async def decisions(self, model: str = "", *, limit: int | None = 100) -> Sequence[trainer_pb2.Decision]:
        """What was decided about each cause, also the decision not to train; newest first."""
        return await pages(
            lambda size, token: self._trainer.unary(
                "ListDecisions",
                trainer_pb2.ListDecisionsRequest(model=model, page_size=size, page_token=token),
                trainer_pb2.ListDecisionsResponse,
            ),
            lambda page: page.decisions,
            limit,
        )

    async def create(self, run: model_pb2.Run, *, request_id: str = "") -> model_pb2.Run:
        """Records a run of one's own at the registry; it gets an id when it has none."""
        request = registry_pb2.CreateRunRequest(request_id=request_id or new_request_id(), run=run)
        return (await self._registry.unary("CreateRun", request, registry_pb2.CreateRunResponse)).run

    async def update(self, run: model_pb2.Run, *, request_id: str = "") -> model_pb2.Run:
        """Adds parameters, metrics and tags to a recorded run; set fields replace."""
        request = registry_pb2.UpdateRunRequest(request_id=request_id or new_request_id(), run=run)
        return (await self._registry.unary("UpdateRun", request, registry_pb2.UpdateRunResponse)).run

    async def recorded(self, run_id: str) -> model_pb2.Run:
        """One run as the registry has it: snapshot, digests, costs."""
        request = registry_pb2.GetRunRequest(id=run_id)
        return (await self._registry.unary("GetRun", request, registry_pb2.GetRunResponse)).run


class AsyncDatasets:
    """Rows brought along: the first training data."""

    def __init__(self, trainer: Endpoint) -> None:
        self._trainer = trainer

    async def list(self) -> Sequence[trainer_pb2.Dataset]:
        """All datasets."""
        reply = await self._trainer.unary(
            "ListDatasets", trainer_pb2.ListDatasetsRequest(), trainer_pb2.ListDatasetsResponse
        )
        return reply.datasets

    async def import_file(
        self, name: str, file: Path, *, append: bool = False, request_id: str = ""
    ) -> trainer_pb2.Dataset:
        """Sends a Parquet file (inputs by name, `label`, `event_time`) as a new version of a dataset."""
        header = trainer_pb2.ImportDatasetRequest.Header(
            request_id=request_id or new_request_id(), dataset=name, append=append, sha256=_digest(file)
        )
        reply = await self._trainer.client_stream(
            "ImportDataset", _parts(header, file), trainer_pb2.ImportDatasetResponse
        )
        return reply.dataset


class Runs(Blocking):
    """AsyncRuns without `await`."""

    start = blocking(AsyncRuns.start)
    cancel = blocking(AsyncRuns.cancel)
    list = blocking(AsyncRuns.list)
    get = blocking(AsyncRuns.get)
    watch = blocking_iterator(AsyncRuns.watch)
    decisions = blocking(AsyncRuns.decisions)
    create = blocking(AsyncRuns.create)
    update = blocking(AsyncRuns.update)
    recorded = blocking(AsyncRuns.recorded)


class Datasets(Blocking):
    """AsyncDatasets without `await`."""

    list = blocking(AsyncDatasets.list)
    import_file = blocking(AsyncDatasets.import_file)


def _digest(file: Path) -> str:
    """SHA-256 of a file; InvalidInput when it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None


async def _parts(
    header: trainer_pb2.ImportDatasetRequest.Header, file: Path
) -> AsyncIterator[trainer_pb2.ImportDatasetRequest]:
    """The header, then the file in pieces of a MiB."""
    yield trainer_pb2.ImportDatasetRequest(header=header)
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            yield trainer_pb2.ImportDatasetRequest(chunk=chunk)
