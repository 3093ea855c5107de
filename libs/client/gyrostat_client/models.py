"""Models, their ModelSpec, environments and the autopilot switch."""

from collections.abc import Sequence

from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.calls import Endpoint, new_request_id, pages
from gyrostat_common.errors import InvalidInput


class AsyncModels:
    """Named prediction problems. Results are the contract's own messages."""

    def __init__(self, registry: Endpoint) -> None:
        self._registry = registry

    async def create(
        self, name: str, spec: model_pb2.ModelSpec | None = None, *, request_id: str = ""
    ) -> model_pb2.Model:
        """Registers a model; AlreadyExists when there is one of that name."""
        request = registry_pb2.CreateModelRequest(request_id=request_id or new_request_id(), name=name, spec=spec)
        return (await self._registry.unary("CreateModel", request, registry_pb2.CreateModelResponse)).model

    async def get(self, name: str) -> model_pb2.Model:
        """A model with its spec and aliases, or NotFound."""
        request = registry_pb2.GetModelRequest(name=name)
        return (await self._registry.unary("GetModel", request, registry_pb2.GetModelResponse)).model

    async def list(self, *, limit: int | None = None) -> Sequence[model_pb2.Model]:
        """All models."""
        return await pages(
            lambda size, token: self._registry.unary(
                "ListModels",
                registry_pb2.ListModelsRequest(page_size=size, page_token=token),
                registry_pb2.ListModelsResponse,
            ),
            lambda page: page.models,
            limit,
        )

    async def update_spec(
        self, name: str, spec: model_pb2.ModelSpec, *, expected_revision: int = 0, request_id: str = ""
    ) -> model_pb2.Model:
        """Replaces the ModelSpec; WrongState when it changed since `expected_revision`."""
        request = registry_pb2.UpdateModelSpecRequest(
            request_id=request_id or new_request_id(), model=name, spec=spec, expected_revision=expected_revision
        )
        return (await self._registry.unary("UpdateModelSpec", request, registry_pb2.UpdateModelSpecResponse)).model

    async def autopilot(self, name: str = "") -> registry_pb2.GetAutopilotResponse:
        """The model's own switch, the global one, and what is in force."""
        request = registry_pb2.GetAutopilotRequest(model=name)
        return await self._registry.unary("GetAutopilot", request, registry_pb2.GetAutopilotResponse)

    async def set_autopilot(
        self, mode: str, name: str = "", *, reason: str = "", request_id: str = ""
    ) -> registry_pb2.SetAutopilotResponse:
        """Sets "on", "propose" or "off" for a model, or for all with an empty name."""
        request = registry_pb2.SetAutopilotRequest(
            request_id=request_id or new_request_id(),
            model=name,
            reason=reason,
            mode=_mode(mode),
        )
        return await self._registry.unary("SetAutopilot", request, registry_pb2.SetAutopilotResponse)

    async def environments(self) -> Sequence[registry_pb2.Environment]:
        """All environments."""
        request = registry_pb2.ListEnvironmentsRequest()
        reply = await self._registry.unary("ListEnvironments", request, registry_pb2.ListEnvironmentsResponse)
        return list(reply.environments)

    async def create_environment(
        self, name: str, description: str = "", *, request_id: str = ""
    ) -> registry_pb2.Environment:
        """Adds an environment that plans can be made for."""
        request = registry_pb2.CreateEnvironmentRequest(
            request_id=request_id or new_request_id(),
            environment=registry_pb2.Environment(name=name, description=description),
        )
        reply = await self._registry.unary("CreateEnvironment", request, registry_pb2.CreateEnvironmentResponse)
        return reply.environment


def _mode(word: str) -> model_pb2.AutopilotMode:
    """The mode of a word; InvalidInput when it is none."""
    modes = {
        "on": model_pb2.AUTOPILOT_MODE_ON,
        "propose": model_pb2.AUTOPILOT_MODE_PROPOSE,
        "off": model_pb2.AUTOPILOT_MODE_OFF,
    }
    if word not in modes:
        raise InvalidInput(f"{word!r} is no autopilot mode; there are on, propose and off")
    return modes[word]


class Models(Blocking):
    """AsyncModels without `await`."""

    create = blocking(AsyncModels.create)
    get = blocking(AsyncModels.get)
    list = blocking(AsyncModels.list)
    update_spec = blocking(AsyncModels.update_spec)
    autopilot = blocking(AsyncModels.autopilot)
    set_autopilot = blocking(AsyncModels.set_autopilot)
    environments = blocking(AsyncModels.environments)
    create_environment = blocking(AsyncModels.create_environment)
