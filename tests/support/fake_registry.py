"""A registry in memory: models, versions, plans and the audit log, without any rule."""

from __future__ import annotations

import hashlib
import uuid

import grpc

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2, registry_pb2_grpc
from gyrostat_common.times import to_proto
from support.fakes import NOON, ROLLOUT, Fake, page_of


class FakeRegistry(Fake, registry_pb2_grpc.RegistryServiceServicer):
    """Models, versions, plans and the audit log, without any rule."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, model_pb2.Model] = {}
        self.versions: dict[str, list[model_pb2.ModelVersion]] = {}
        self.rollouts: list[registry_pb2.Rollout] = []
        self.plans: dict[str, list[events_pb2.ServingPlan]] = {}
        self.replicas: list[events_pb2.PlanApplied] = []
        self.unreadable: list[registry_pb2.PlanTopicRepair] = []
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
        page, token = page_of(list(self.models.values()), request)
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
        page, token = page_of(self.versions.get(request.model, []), request)
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
        page, token = page_of(found, request)
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
        page, token = page_of(found, request)
        return registry_pb2.ListPlansResponse(plans=page, next_page_token=token)

    def WatchPlans(self, request, context):
        for plans in self.plans.values():
            yield registry_pb2.WatchPlansResponse(plan=plans[0])

    def ListReplicas(self, request, context):
        return registry_pb2.ListReplicasResponse(replicas=self.replicas)

    def RepairPlanTopic(self, request, context):
        asked = [one for one in self.unreadable if request.key in (b"", one.key)]
        if not request.dry_run:
            self.unreadable = [one for one in self.unreadable if one not in asked]
        return registry_pb2.RepairPlanTopicResponse(repairs=asked)

    def GetLineage(self, request, context):
        return registry_pb2.GetLineageResponse(nodes=[registry_pb2.LineageNode(kind="version", id=request.version)])

    def ListAudit(self, request, context):
        found = [one for one in self.audit if request.actor in ("", one.actor)]
        page, token = page_of(found, request)
        return registry_pb2.ListAuditResponse(entries=page, next_page_token=token)
