"""The four services in memory, small, behind a real gRPC server on a UNIX socket: for tests of the SDK and the command.

They answer from plain fields that a test may change; every mutating request is kept in `calls`, repeated request ids in
`repeats`. `fail` makes the next calls of a method fail with a status.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from gyrostat.registry.v1 import model_pb2, registry_pb2, registry_pb2_grpc
from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import oip
from gyrostat_common.times import to_proto

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
EPISODE = "5f0c2a8e-0f44-5d0e-9a53-1f2f4c1f0001"
RUN = "0198c2d4-0000-7000-8000-000000000001"
ROLLOUT = "0198c2d4-0000-7000-8000-0000000000aa"
PREDICTION = "0198c2d4-aaaa-7000-8000-000000000001"


class Fake:
    """What the fakes share: recorded calls, stored replies, failures on demand."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.actors: list[str] = []
        self.repeats: list[str] = []
        self.fail: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self._replies: dict[str, Any] = {}

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Records a call; gives the stored reply of a repeated one."""
        metadata = {key: value for key, value in context.invocation_metadata()}
        self.actors.append(str(metadata.get("gyrostat-actor", "")))
        if self.fail.get(method):
            code, message = self.fail[method].pop(0)
            context.set_trailing_metadata((("error-reason", "OF_THE_TEST"),))
            context.abort(code, message)
        request_id = getattr(request, "request_id", "")
        if request_id in self._replies:
            self.repeats.append(request_id)
            return self._replies[request_id]
        self.calls.append(request)
        return None

    def _store(self, request: Any, reply: Any) -> Any:
        if getattr(request, "request_id", ""):
            self._replies[request.request_id] = reply
        return reply


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """One page and the next token."""
    start = int(request.page_token or 0)
    size = request.page_size or 100
    return items[start : start + size], str(start + size) if start + size < len(items) else ""


class FakeRegistry(Fake, registry_pb2_grpc.RegistryServiceServicer):
    """Models, versions, plans and the audit log, without any rule."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, model_pb2.Model] = {}
        self.versions: dict[str, list[model_pb2.ModelVersion]] = {}
        self.rollouts: list[registry_pb2.Rollout] = []
        self.plans: dict[str, list[events_pb2.ServingPlan]] = {}
        self.replicas: list[events_pb2.PlanApplied] = []
        self.runs: dict[str, model_pb2.Run] = {}
        self.artifacts: dict[str, bytes] = {}
        self.audit: list[registry_pb2.AuditEntry] = []
        self.modes = {"": model_pb2.AUTOPILOT_MODE_ON}

    def CreateModel(self, request, context):
        if (stored := self._enter("CreateModel", request, context)) is not None:
            return stored
        if request.name in self.models:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"model {request.name!r} exists already")
        spec = model_pb2.ModelSpec()
        spec.CopyFrom(request.spec)
        spec.revision = 1
        self.models[request.name] = model_pb2.Model(
            name=request.name, spec=spec, created_at=to_proto(NOON), created_by="ada"
        )
        return self._store(request, registry_pb2.CreateModelResponse(model=self.models[request.name]))

    def _model(self, name, context) -> model_pb2.Model:
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {name!r}")
        return self.models[name]

    def GetModel(self, request, context):
        self._enter("GetModel", request, context)
        return registry_pb2.GetModelResponse(model=self._model(request.name, context))

    def ListModels(self, request, context):
        self._enter("ListModels", request, context)
        page, token = _page(list(self.models.values()), request)
        return registry_pb2.ListModelsResponse(models=page, next_page_token=token)

    def UpdateModelSpec(self, request, context):
        self._enter("UpdateModelSpec", request, context)
        model = self._model(request.model, context)
        if request.expected_revision not in (0, model.spec.revision):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the spec is at revision {model.spec.revision}")
        revision = model.spec.revision + 1
        model.spec.CopyFrom(request.spec)
        model.spec.revision = revision
        return registry_pb2.UpdateModelSpecResponse(model=model)

    def ListEnvironments(self, request, context):
        return registry_pb2.ListEnvironmentsResponse(environments=[registry_pb2.Environment(name="production")])

    def CreateEnvironment(self, request, context):
        self._enter("CreateEnvironment", request, context)
        return registry_pb2.CreateEnvironmentResponse(environment=request.environment)

    def UploadArtifact(self, requests, context):
        first = next(requests)
        content = b"".join(part.chunk for part in requests)
        sha256 = hashlib.sha256(content).hexdigest()
        self.artifacts[sha256] = content
        return registry_pb2.UploadArtifactResponse(
            artifact=model_pb2.Artifact(sha256=sha256, size_bytes=len(content), name=first.header.name)
        )

    def DownloadArtifact(self, request, context):
        if request.sha256 not in self.artifacts:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no artifact {request.sha256}")
        content = self.artifacts[request.sha256]
        for start in range(0, len(content), 1000):
            yield registry_pb2.DownloadArtifactResponse(chunk=content[start : start + 1000])

    def CreateRun(self, request, context):
        self._enter("CreateRun", request, context)
        run = model_pb2.Run()
        run.CopyFrom(request.run)
        run.id = run.id or str(uuid.uuid4())
        self.runs[run.id] = run
        return registry_pb2.CreateRunResponse(run=run)

    def UpdateRun(self, request, context):
        self._enter("UpdateRun", request, context)
        self.runs[request.run.id].MergeFrom(request.run)
        return registry_pb2.UpdateRunResponse(run=self.runs[request.run.id])

    def GetRun(self, request, context):
        if request.id not in self.runs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no run {request.id!r}")
        return registry_pb2.GetRunResponse(run=self.runs[request.id])

    def CreateModelVersion(self, request, context):
        if (stored := self._enter("CreateModelVersion", request, context)) is not None:
            return stored
        model = self._model(request.model, context)
        versions = self.versions.setdefault(model.name, [])
        version = model_pb2.ModelVersion(
            model=model.name,
            number=len(versions) + 1,
            stage=model_pb2.STAGE_CANDIDATE,
            created_at=to_proto(NOON),
            created_by="ada",
            artifact=model_pb2.Artifact(
                sha256=request.artifact_sha256, size_bytes=len(self.artifacts[request.artifact_sha256])
            ),
        )
        versions.append(version)
        return self._store(request, registry_pb2.CreateModelVersionResponse(version=version))

    def _version(self, model, text, context) -> model_pb2.ModelVersion:
        number = int(text) if text.isdigit() else self._model(model, context).aliases.get(text, 0)
        found = [one for one in self.versions.get(model, []) if one.number == number]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no version {model}:{text}")
        return found[0]

    def GetModelVersion(self, request, context):
        self._enter("GetModelVersion", request, context)
        return registry_pb2.GetModelVersionResponse(version=self._version(request.model, request.version, context))

    def ListModelVersions(self, request, context):
        page, token = _page(self.versions.get(request.model, []), request)
        return registry_pb2.ListModelVersionsResponse(versions=page, next_page_token=token)

    def ArchiveModelVersion(self, request, context):
        self._enter("ArchiveModelVersion", request, context)
        version = self._version(request.model, str(request.number), context)
        version.stage = model_pb2.STAGE_ARCHIVED
        return registry_pb2.ArchiveModelVersionResponse(version=version)

    def SetAlias(self, request, context):
        self._enter("SetAlias", request, context)
        self._model(request.model, context).aliases[request.alias] = request.number
        return registry_pb2.SetAliasResponse(model=self.models[request.model])

    def DeleteAlias(self, request, context):
        self._enter("DeleteAlias", request, context)
        self._model(request.model, context).aliases.pop(request.alias, None)
        return registry_pb2.DeleteAliasResponse(model=self.models[request.model])

    def ListRollouts(self, request, context):
        over = (registry_pb2.ROLLOUT_STATE_PROMOTED, registry_pb2.ROLLOUT_STATE_ROLLED_BACK)
        found = [
            one
            for one in self.rollouts
            if request.model in ("", one.model) and not (request.open_only and one.state in over)
        ]
        page, token = _page(found, request)
        return registry_pb2.ListRolloutsResponse(rollouts=page, next_page_token=token)

    def _rollout(self, rollout_id, context) -> registry_pb2.Rollout:
        found = [one for one in self.rollouts if one.id == rollout_id]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no roll-out {rollout_id!r}")
        return found[0]

    def GetRollout(self, request, context):
        return registry_pb2.GetRolloutResponse(rollout=self._rollout(request.id, context))

    def StartRollout(self, request, context):
        self._enter("StartRollout", request, context)
        rollout = registry_pb2.Rollout(
            id=ROLLOUT, model=request.model, version=request.number, state=registry_pb2.ROLLOUT_STATE_SHADOW
        )
        self.rollouts.insert(0, rollout)
        return registry_pb2.StartRolloutResponse(rollout=rollout)

    def ApproveRollout(self, request, context):
        self._enter("ApproveRollout", request, context)
        rollout = self._rollout(request.rollout_id, context)
        rollout.state = registry_pb2.ROLLOUT_STATE_SHADOW
        return registry_pb2.ApproveRolloutResponse(rollout=rollout)

    def _next_plan(self, model, **fields) -> events_pb2.ServingPlan:
        plans = self.plans.setdefault(model, [])
        plan = events_pb2.ServingPlan(
            environment="production",
            model=model,
            revision=len(plans) + 1,
            made_at=to_proto(NOON),
            actor="ada",
            **fields,
        )
        plans.insert(0, plan)
        return plan

    def Promote(self, request, context):
        if (stored := self._enter("Promote", request, context)) is not None:
            return stored
        version = self._version(request.model, str(request.number), context)
        plan = self._next_plan(
            request.model,
            reason=request.reason,
            champion=events_pb2.PlannedVersion(number=version.number, artifact=version.artifact),
        )
        self.models[request.model].aliases["champion"] = version.number
        return self._store(request, registry_pb2.PromoteResponse(plan=plan))

    def Rollback(self, request, context):
        self._enter("Rollback", request, context)
        before = self.plans.get(request.model, [])
        if len(before) < 2:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{request.model} has no previous champion")
        plan = self._next_plan(request.model, reason=request.reason, champion=before[1].champion)
        return registry_pb2.RollbackResponse(plan=plan)

    def RetireModel(self, request, context):
        self._enter("RetireModel", request, context)
        return registry_pb2.RetireModelResponse(plan=self._next_plan(request.model, reason=request.reason))

    def PinShadow(self, request, context):
        self._enter("PinShadow", request, context)
        return registry_pb2.PinShadowResponse(plan=self._next_plan(request.model))

    def SetAutopilot(self, request, context):
        self._enter("SetAutopilot", request, context)
        self.modes[request.model] = request.mode
        return registry_pb2.SetAutopilotResponse(
            model_mode=self.modes.get(request.model, 0), global_mode=self.modes[""]
        )

    def GetAutopilot(self, request, context):
        own = self.modes.get(request.model, model_pb2.AUTOPILOT_MODE_PROPOSE)
        return registry_pb2.GetAutopilotResponse(
            model_mode=own, global_mode=self.modes[""], effective=max(own, self.modes[""])
        )

    def GetPlan(self, request, context):
        if not self.plans.get(request.model):
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.model} has no plan")
        return registry_pb2.GetPlanResponse(plan=self.plans[request.model][0])

    def ListPlans(self, request, context):
        found = self.plans.get(request.model, []) if request.model else [plans[0] for plans in self.plans.values()]
        page, token = _page(found, request)
        return registry_pb2.ListPlansResponse(plans=page, next_page_token=token)

    def WatchPlans(self, request, context):
        for plans in self.plans.values():
            yield registry_pb2.WatchPlansResponse(plan=plans[0])

    def ListReplicas(self, request, context):
        return registry_pb2.ListReplicasResponse(replicas=self.replicas)

    def GetLineage(self, request, context):
        return registry_pb2.GetLineageResponse(nodes=[registry_pb2.LineageNode(kind="version", id=request.version)])

    def ListAudit(self, request, context):
        found = [one for one in self.audit if request.actor in ("", one.actor)]
        page, token = _page(found, request)
        return registry_pb2.ListAuditResponse(entries=page, next_page_token=token)


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


class Services:
    """The four fakes and their addresses."""

    def __init__(self, folder: Path) -> None:
        self.registry, self.inference, self.monitor, self.trainer = (
            FakeRegistry(),
            FakeInference(),
            FakeMonitor(),
            FakeTrainer(),
        )
        self.addresses = {
            name: f"unix:{folder}/{name}.sock" for name in ("registry", "inference", "monitor", "trainer")
        }
        self.health = health.HealthServicer()

    def environ(self) -> dict[str, str]:
        """The client's settings for them."""
        return {f"GYROSTAT_CLIENT__{name.upper()}_ADDRESS": address for name, address in self.addresses.items()} | {
            "GYROSTAT_CLIENT__ACTOR": "ada",
            "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        }

    @contextmanager
    def running(self) -> Iterator[Services]:
        """All four behind servers of their own."""
        servers = []
        adders = {
            "registry": registry_pb2_grpc.add_RegistryServiceServicer_to_server,
            "inference": oip.add_servicer,
            "monitor": monitor_pb2_grpc.add_MonitorServiceServicer_to_server,
            "trainer": trainer_pb2_grpc.add_TrainerServiceServicer_to_server,
        }
        for name, address in self.addresses.items():
            server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
            adders[name](getattr(self, name), server)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
            server.add_insecure_port(address)
            server.start()
            servers.append(server)
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        try:
            yield self
        finally:
            for stopped in [server.stop(grace=None) for server in servers]:
                stopped.wait()

    def closed_loop(self) -> None:
        """Fills in a model `fraud` that was promoted because of an episode."""
        _closed_loop(self)


def _closed_loop(services: Services) -> None:
    registry, monitor = services.registry, services.monitor
    onnx = b"onnx bytes" * 500
    sha256 = hashlib.sha256(onnx).hexdigest()
    registry.artifacts[sha256] = onnx
    spec = model_pb2.ModelSpec(
        revision=3,
        owner="risk@example.org",
        task=model_pb2.TASK_BINARY,
        autopilot=model_pb2.AUTOPILOT_MODE_ON,
        sensitivity={"email": model_pb2.SENSITIVITY_HASH},
    )
    registry.models["fraud"] = model_pb2.Model(
        name="fraud",
        spec=spec,
        created_at=to_proto(NOON),
        created_by="ada",
        latest_version=4,
        aliases={"champion": 4, "v1.2": 3},
    )
    registry.modes["fraud"] = model_pb2.AUTOPILOT_MODE_ON
    artifact = model_pb2.Artifact(sha256=sha256, size_bytes=len(onnx), name="model.onnx")
    registry.versions["fraud"] = [
        model_pb2.ModelVersion(
            model="fraud",
            number=number,
            stage=model_pb2.STAGE_RETIRED,
            artifact=artifact,
            created_at=to_proto(NOON),
            created_by="ada",
        )
        for number in (1, 2, 3)
    ]
    registry.versions["fraud"].append(
        model_pb2.ModelVersion(
            model="fraud",
            number=4,
            stage=model_pb2.STAGE_CHAMPION,
            artifact=artifact,
            run_id=RUN,
            cause=EPISODE,
            created_at=to_proto(NOON),
            created_by="gyrostat-trainer",
            stage_reason="all gates passed",
            gates=[model_pb2.GateResult(gate="parity", numbers={"max_difference": 1e-7}, passed=True, reason="fine")],
        )
    )
    registry.runs[RUN] = model_pb2.Run(
        id=RUN,
        model="fraud",
        status="succeeded",
        causes=[EPISODE],
        started_at=to_proto(NOON),
        version=4,
        code_digest="c0de",
        created_by="gyrostat-trainer",
        cost={"wall_s": 2.5},
        snapshot=model_pb2.DatasetSnapshot(
            sha256="ab" * 32,
            rows=12345,
            tables={"predictions/fraud": 7},
            event_time_from=to_proto(NOON),
            event_time_to=to_proto(NOON),
            excluded=["rows of a data-quality episode"],
        ),
    )
    services.trainer.runs[RUN] = trainer_pb2.TrainingRun(
        run=registry.runs[RUN],
        progress=trainer_pb2.Progress(fraction=1.0, stage="done"),
        gates=registry.versions["fraud"][3].gates,
    )
    services.trainer.decisions.append(
        trainer_pb2.Decision(
            cause=EPISODE, model="fraud", action="train", reason="loss is 9 % worse", at=to_proto(NOON), run_id=RUN
        )
    )
    registry.rollouts.append(
        registry_pb2.Rollout(
            id=ROLLOUT,
            model="fraud",
            version=4,
            from_version=3,
            state=registry_pb2.ROLLOUT_STATE_PROMOTED,
            weight=10_000,
            cause=EPISODE,
            actor="gyrostat-registry",
            created_at=to_proto(NOON),
            steps=[
                registry_pb2.RolloutStep(
                    state=registry_pb2.ROLLOUT_STATE_SHADOW,
                    reason="gates passed",
                    plan_revision=2,
                    event_time=to_proto(NOON),
                    at=to_proto(NOON),
                    actor="gyrostat-registry",
                ),
                registry_pb2.RolloutStep(
                    state=registry_pb2.ROLLOUT_STATE_GUARD,
                    weight=10_000,
                    reason="loss is lower",
                    plan_revision=3,
                    event_time=to_proto(NOON),
                    at=to_proto(NOON),
                    actor="gyrostat-registry",
                ),
            ],
        )
    )
    registry.plans["fraud"] = [
        events_pb2.ServingPlan(
            environment="production",
            model="fraud",
            revision=revision,
            made_at=to_proto(NOON),
            actor="gyrostat-registry",
            reason="advance",
            rollout_id=ROLLOUT,
            champion=events_pb2.PlannedVersion(number=4 if revision == 3 else 3, artifact=artifact),
            fallback=events_pb2.PlannedVersion(number=3, artifact=artifact),
            shadows=[events_pb2.PlannedShadow(version=events_pb2.PlannedVersion(number=3), purpose="guard")],
        )
        for revision in (3, 2, 1)
    ]
    registry.replicas.append(
        events_pb2.PlanApplied(
            replica="replica-a",
            environment="production",
            at=to_proto(datetime.now(UTC)),
            revisions={"fraud": 2},
            versions=[events_pb2.AppliedVersion(model="fraud", version=4, revision=3, loaded=False, reason="digest")],
        )
    )
    registry.audit.append(
        registry_pb2.AuditEntry(
            number=1, at=to_proto(NOON), actor="ada", action="Promote", subject="fraud:3", reason="first"
        )
    )
    monitor.episodes.append(
        monitor_pb2.Episode(
            latest=events_pb2.DriftDetected(
                episode_id=EPISODE,
                model="fraud",
                version=3,
                kind=events_pb2.DRIFT_KIND_PERFORMANCE,
                state=events_pb2.EPISODE_STATE_RESOLVED,
                started_at=to_proto(NOON),
                watermark=to_proto(NOON),
                severity="warning",
                effect=0.09,
                summary="log loss 0.31 where 0.28 was expected",
                exemplars=[f"{PREDICTION}/0"],
                features=[
                    events_pb2.FeatureEvidence(
                        feature="amount", statistic="mean_shift_sd", value=0.4, reference=10, current=12
                    )
                ],
            ),
            transitions=[
                monitor_pb2.Episode.Transition(
                    state=events_pb2.EPISODE_STATE_CONFIRMED,
                    watermark=to_proto(NOON),
                    at=to_proto(NOON),
                    summary="two windows",
                    event_id="0198c2d4-eeee-7000-8000-000000000001",
                )
            ],
        )
    )
    monitor.predictions[f"{PREDICTION}/0"] = monitor_pb2.GetPredictionResponse(
        id=f"{PREDICTION}/0",
        model="fraud",
        episode_ids=[EPISODE],
        answers=[
            monitor_pb2.ArchivedAnswer(
                version=4,
                role=events_pb2.ROLE_ANSWER,
                variant="champion",
                plan_revision=3,
                event_time=to_proto(NOON),
                inputs_json=json.dumps({"amount": 12.5}),
                outputs_json=json.dumps({"probabilities": [0.9, 0.1]}),
            ),
            monitor_pb2.ArchivedAnswer(version=3, role=events_pb2.ROLE_SHADOW, event_time=to_proto(NOON)),
        ],
        outcomes=[monitor_pb2.JoinedOutcome(value=1.0, source="bank", winner=True, observed_at=to_proto(NOON))],
    )
    monitor.status.CopyFrom(
        monitor_pb2.GetMonitorStatusResponse(
            archive_uri="file:///a",
            lag_records={"prediction.logged": 12},
            models=[
                monitor_pb2.ModelStatus(
                    model="fraud",
                    watermark=to_proto(NOON),
                    state="stable",
                    label_coverage=0.87,
                    open_episodes=[EPISODE],
                )
            ],
        )
    )
    monitor.rows.append(
        monitor_pb2.Quality(
            version=4,
            role=events_pb2.ROLE_ANSWER,
            predictions=1000,
            outcomes=870,
            coverage=0.87,
            to=to_proto(NOON),
            metrics={"auc": 0.75, "log_loss": 0.3},
        )
    )
    getattr(monitor.rows[0], "from").CopyFrom(to_proto(NOON))
    monitor.windows.append(
        monitor_pb2.WindowReport(
            model="fraud",
            version=4,
            closed=True,
            outcomes=10,
            quality={"log_loss": 0.3},
            window=events_pb2.Window(start=to_proto(NOON), end=to_proto(NOON), rows=1000),
            statistics=[monitor_pb2.WindowStatistic(scalar="amount", statistic="ks", value=0.3, significant=True)],
        )
    )
    monitor.judgements.append(
        monitor_pb2.Judgement(
            at=to_proto(NOON),
            judged=events_pb2.CanaryJudged(
                rollout_id=ROLLOUT,
                model="fraud",
                version=4,
                baseline=3,
                verdict=events_pb2.VERDICT_ADVANCE,
                watermark=to_proto(NOON),
                paired_rows=600,
                rows_needed=500,
                summary="loss is lower",
            ),
        )
    )


def prediction_frame(rows: int = 3) -> events_pb2.PredictionLogged:
    """A micro-batch with a number, a text, a hashed, a dropped, an absent and a wide column."""
    from uuid import UUID

    def column(name: str, datatype: str, values: bytes, **fields: Any) -> events_pb2.Column:
        return events_pb2.Column(name=name, datatype=datatype, values=values, **fields)

    ids = [UUID(PREDICTION)] * rows
    us = int(NOON.timestamp() * 1_000_000)
    return events_pb2.PredictionLogged(
        stream="spool/fraud/0",
        frame_no=5,
        model="fraud",
        version=4,
        role=events_pb2.ROLE_ANSWER,
        variant="champion",
        plan_revision=3,
        rows=rows,
        prediction_ids=b"".join(one.bytes for one in ids),
        row_numbers=np.arange(rows, dtype="<u4").tobytes(),
        entities=[f"card-{row}" for row in range(rows)],
        event_times_us=np.full(rows, us, "<i8").tobytes(),
        arrival_times_us=np.full(rows, us, "<i8").tobytes(),
        latencies_us=np.full(rows, 1500, "<u4").tobytes(),
        future_event_times=bytes([0b010]),
        inputs=[
            column("amount", "FP32", np.arange(rows, dtype="<f4").tobytes(), validity=bytes([0b101])),
            column("country", "BYTES", oip.pack_bytes(["CH", "ÖSTERREICH", "DE"][:rows])),
            column(
                "email", "BYTES", oip.pack_bytes(["0123456789abcdef"] * rows), sensitivity=model_pb2.SENSITIVITY_HASH
            ),
            column("secret", "BYTES", b"", sensitivity=model_pb2.SENSITIVITY_DROP),
        ],
        outputs=[column("probabilities", "FP32", np.tile([0.25, 0.75], rows).astype("<f4").tobytes(), shape=[2])],
        traces=[events_pb2.RowTrace(row=1, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")],
    )


def lines(text: Iterable[str]) -> list[dict[str, Any]]:
    """JSON lines as objects."""
    return [json.loads(line) for line in text if line.strip()]
