"""Calls about models, environments, aliases and runs."""

from typing import Any

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_registry.domain.paging import token
from gyrostat_registry.domain.run import Run
from gyrostat_registry.domain.spec import ModelSpec
from gyrostat_registry.service import encode
from gyrostat_registry.service.calls import Calls, asked, caller, once
from gyrostat_registry.service.mapping import opened


class CatalogueCalls(Calls):
    """decode > use case > encode."""

    @once
    async def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> pb.CreateModelResponse:
        view = await self._cases.catalogue.create(caller(request), request.name, opened(ModelSpec, request.spec))
        return pb.CreateModelResponse(model=encode.model(view))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=encode.model(await self._cases.catalogue.get(request.name)))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        found = await self._cases.catalogue.list(asked(request))
        return pb.ListModelsResponse(models=map(encode.model, found.rows), next_page_token=token(found.last))

    @once
    async def UpdateModelSpec(self, request: pb.UpdateModelSpecRequest, context: Any) -> pb.UpdateModelSpecResponse:
        spec = opened(ModelSpec, request.spec)
        view = await self._cases.catalogue.update_spec(caller(request), request.model, spec, request.expected_revision)
        return pb.UpdateModelSpecResponse(model=encode.model(view))

    @once
    async def CreateEnvironment(
        self, request: pb.CreateEnvironmentRequest, context: Any
    ) -> pb.CreateEnvironmentResponse:
        made = request.environment
        await self._cases.catalogue.create_environment(caller(request), made.name, made.description)
        return pb.CreateEnvironmentResponse(environment=made)

    async def ListEnvironments(self, request: pb.ListEnvironmentsRequest, context: Any) -> pb.ListEnvironmentsResponse:
        found = await self._cases.catalogue.environments()
        listed = [pb.Environment(name=name, description=text) for name, text in found.items()]
        return pb.ListEnvironmentsResponse(environments=listed)

    @once
    async def SetAlias(self, request: pb.SetAliasRequest, context: Any) -> pb.SetAliasResponse:
        view = await self._cases.catalogue.set_alias(caller(request), request.model, request.alias, request.number)
        return pb.SetAliasResponse(model=encode.model(view))

    @once
    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Any) -> pb.DeleteAliasResponse:
        view = await self._cases.catalogue.delete_alias(caller(request), request.model, request.alias)
        return pb.DeleteAliasResponse(model=encode.model(view))

    @once
    async def CreateRun(self, request: pb.CreateRunRequest, context: Any) -> pb.CreateRunResponse:
        run = await self._cases.runs.create(caller(request), _run(request.run))
        return pb.CreateRunResponse(run=encode.run(run))

    @once
    async def UpdateRun(self, request: pb.UpdateRunRequest, context: Any) -> pb.UpdateRunResponse:
        run = await self._cases.runs.update(caller(request), _run(request.run))
        return pb.UpdateRunResponse(run=encode.run(run))

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=encode.run(await self._cases.runs.get(request.id)))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        found = await self._cases.runs.list(request.model, asked(request))
        return pb.ListRunsResponse(runs=map(encode.run, found.rows), next_page_token=token(found.last))


def _run(message: model_pb2.Run) -> Run:
    return opened(Run, message)
