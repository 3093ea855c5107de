"""A monitor, a trainer and an inference service in memory."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import grpc
import numpy as np

from gyrostat.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from gyrostat.registry.v1 import model_pb2
from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import oip
from gyrostat_common.times import to_proto
from support.fakes import NOON, PREDICTION, RUN, Fake


class FakeMonitor(Fake, monitor_pb2_grpc.MonitorServiceServicer):
    """Episodes, predictions and quality as given."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[monitor_pb2.Episode] = []
        self.predictions: dict[str, monitor_pb2.GetPredictionResponse] = {}
        self.status = monitor_pb2.GetMonitorStatusResponse()
        self.outcomes: list[monitor_pb2.Outcome] = []
        self.rows: list[monitor_pb2.Quality] = []
        self.windows: list[monitor_pb2.WindowReport] = []
        self.judgements: list[monitor_pb2.Judgement] = []

    def RecordOutcomes(self, request, context):
        if (stored := self._enter("RecordOutcomes", request, context)) is not None:
            return stored
        self.outcomes.extend(request.outcomes)
        reply = monitor_pb2.RecordOutcomesResponse(
            accepted=len(request.outcomes), event_ids=[str(uuid.uuid4()) for _ in request.outcomes]
        )
        return self._store(request, reply)

    def ListEpisodes(self, request, context):
        found = [one for one in self.episodes if request.model in ("", one.latest.model)]
        return monitor_pb2.ListEpisodesResponse(episodes=found)

    def GetEpisode(self, request, context):
        found = [one for one in self.episodes if one.latest.episode_id == request.id]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no episode {request.id!r}")
        return monitor_pb2.GetEpisodeResponse(episode=found[0])

    def GetQuality(self, request, context):
        self._enter("GetQuality", request, context)
        return monitor_pb2.GetQualityResponse(rows=self.rows)

    def ListWindows(self, request, context):
        return monitor_pb2.ListWindowsResponse(windows=self.windows)

    def ListJudgements(self, request, context):
        return monitor_pb2.ListJudgementsResponse(judgements=self.judgements)

    def GetPrediction(self, request, context):
        prediction_id = request.id if "/" in request.id else f"{request.id}/0"
        if prediction_id not in self.predictions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no prediction {prediction_id} in the archive")
        return self.predictions[prediction_id]

    def GetMonitorStatus(self, request, context):
        self._enter("GetMonitorStatus", request, context)
        return self.status


class FakeTrainer(Fake, trainer_pb2_grpc.TrainerServiceServicer):
    """Runs that end as told by `ending`."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, trainer_pb2.TrainingRun] = {}
        self.decisions: list[trainer_pb2.Decision] = []
        self.datasets: dict[str, trainer_pb2.Dataset] = {}
        self.ending = "succeeded"

    def StartTraining(self, request, context):
        if (stored := self._enter("StartTraining", request, context)) is not None:
            return stored
        run = trainer_pb2.TrainingRun(
            run=model_pb2.Run(id=RUN, model=request.model, status="queued", causes=["trigger:ada"]),
            progress=trainer_pb2.Progress(stage="queued"),
        )
        self.runs[RUN] = run
        return self._store(request, trainer_pb2.StartTrainingResponse(run=run))

    def CancelTraining(self, request, context):
        self._enter("CancelTraining", request, context)
        self.runs[request.run_id].run.status = "cancelled"
        return trainer_pb2.CancelTrainingResponse(run=self.runs[request.run_id])

    def GetRun(self, request, context):
        if request.run_id not in self.runs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no run {request.run_id!r}")
        return trainer_pb2.GetRunResponse(run=self.runs[request.run_id])

    def ListRuns(self, request, context):
        return trainer_pb2.ListRunsResponse(runs=list(self.runs.values()))

    def WatchRun(self, request, context):
        run = self.runs[request.run_id]
        for fraction, stage in ((0.1, "snapshot"), (0.5, "fit"), (1.0, "done")):
            run.progress.fraction, run.progress.stage = fraction, stage
            run.run.status = self.ending if stage == "done" else "running"
            run.run.version = 1 if run.run.status == "succeeded" else 0
            yield trainer_pb2.WatchRunResponse(run=run)

    def ListDecisions(self, request, context):
        return trainer_pb2.ListDecisionsResponse(decisions=self.decisions)

    def ImportDataset(self, requests, context):
        header = next(requests).header
        content = b"".join(part.chunk for part in requests)
        assert hashlib.sha256(content).hexdigest() == header.sha256
        dataset = trainer_pb2.Dataset(
            name=header.dataset, rows=len(content), uri="file:///d", updated_at=to_proto(NOON)
        )
        self.datasets[header.dataset] = dataset
        return trainer_pb2.ImportDatasetResponse(dataset=dataset)

    def ListDatasets(self, request, context):
        return trainer_pb2.ListDatasetsResponse(datasets=list(self.datasets.values()))


class FakeInference(Fake):
    """Model `fraud`: amount FP32 [-1, 1] and country BYTES [-1, 1]; the score is amount / 100."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def ServerReady(self, request, context):
        return oip.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):
        return oip.ModelReadyResponse(ready=request.name == "fraud")

    def RepositoryIndex(self, request, context):
        reply = oip.RepositoryIndexResponse()
        reply.models.add(name="fraud", version="4", state="READY")
        return reply

    def ModelMetadata(self, request, context):
        self._known(request.name, request.version, context)
        reply = oip.ModelMetadataResponse(name="fraud", versions=["4"], platform="onnxruntime")
        reply.inputs.add(name="amount", datatype="FP32", shape=[-1, 1])
        reply.inputs.add(name="country", datatype="BYTES", shape=[-1, 1])
        reply.outputs.add(name="probabilities", datatype="FP32", shape=[-1, 2])
        return reply

    def ModelInfer(self, request, context):
        self._known(request.model_name, request.model_version, context)
        self.requests.append(request)
        arrays = {
            tensor.name: oip.from_raw(tensor.datatype, tensor.shape, request.raw_input_contents[number])
            for number, tensor in enumerate(request.inputs)
        }
        if set(arrays) != {"amount", "country"}:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"fraud wants amount and country, got {sorted(arrays)}")
        score = arrays["amount"].reshape(-1) / 100
        reply = oip.ModelInferResponse(model_name="fraud", model_version="4", id=request.id)
        given = request.parameters["gyrostat_prediction_id"].string_param or PREDICTION
        for name, value in (
            ("gyrostat_prediction_id", given),
            ("gyrostat_variant", "champion"),
            ("gyrostat_revision", 7),
        ):
            reply.parameters[name].CopyFrom(oip.parameter(value))
        outputs = {"probabilities": np.stack([1 - score, score], axis=1).astype("<f4"), "country": arrays["country"]}
        for name, array in outputs.items():
            reply.outputs.add(name=name, datatype=oip.datatype_of(array), shape=list(array.shape))
            reply.raw_output_contents.append(oip.to_raw(array))
        return reply

    def _known(self, model, version, context) -> None:
        if model != "fraud":
            context.abort(grpc.StatusCode.NOT_FOUND, f"{model} is not served; live: fraud")
        if version not in ("", "4", "champion"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"fraud:{version} is not served; live: 4 (champion)")
