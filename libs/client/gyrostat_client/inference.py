"""Asks a served model for answers, by the Open Inference Protocol.

Values are cast to what the model's metadata says (fetched once per model and version); the reply carries the prediction
id that an outcome names later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.calls import Endpoint
from gyrostat_client.tensors import Array, cast, columns, datatype_of, readable, shaped
from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput, NotFound
from gyrostat_common.times import to_rfc3339


@dataclass(frozen=True)
class Prediction:
    """An answer. `outputs` has an array per output, (rows, …) as the model declares it, in the type of its datatype
    (BYTES: objects, str where they are UTF-8; BF16: float32); row i is prediction `<id>/<i>`."""

    id: str
    model: str
    version: str
    variant: str
    revision: int
    request_id: str
    outputs: dict[str, Array]

    def row_id(self, row: int = 0) -> str:
        """The id that an outcome of one row names."""
        return f"{self.id}/{row}"


class Options(TypedDict, total=False):
    """What a request may carry beside its inputs."""

    version: str | int
    """A number, or an alias that is served; empty lets the plan choose."""
    event_time: datetime | None
    """When the question was asked in the world; absent: arrival."""
    entity: str
    """Routing key of the whole request."""
    request_id: str
    """The caller's own id, that an outcome may name."""
    prediction_id: str
    """A UUID; absent: the server mints one."""
    outputs: tuple[str, ...]
    """Only these outputs; empty: all."""


class AsyncInference:
    """Answers, and which models give them."""

    def __init__(self, inference: Endpoint) -> None:
        self._inference = inference
        self._metadata: dict[tuple[str, str], oip.ModelMetadataResponse] = {}

    async def predict(self, model: str, inputs: object, **options: Unpack[Options]) -> Prediction:
        """Scores rows. `inputs` is a mapping of names to values, a list of row mappings, or a data frame.

        Raises InvalidInput for inputs that do not fit, NotFound for a model or version that is not served.
        """
        named = columns(inputs)
        version = options.get("version", "")
        request = await self.request(model, named, **options)
        try:
            reply = await self._inference.unary("ModelInfer", request, oip.ModelInferResponse)
        except InvalidInput:
            # A promotion may have changed the signature since the metadata was read: look again, once.
            known = self._metadata.pop((model, str(version)), None)
            if known is None or await self.metadata(model, version=version) == known:
                raise
            request = await self.request(model, named, **options)
            reply = await self._inference.unary("ModelInfer", request, oip.ModelInferResponse)
        return prediction_of(reply)

    async def request(
        self, model: str, inputs: Mapping[str, object], **options: Unpack[Options]
    ) -> oip.ModelInferRequest:
        """The protocol's request for named values, cast to what the model declares."""
        version = str(options.get("version", ""))
        declared = {tensor.name: tensor for tensor in (await self._known(model, version)).inputs}
        request = oip.ModelInferRequest(model_name=model, model_version=version, id=options.get("request_id", ""))
        for name, values in inputs.items():
            tensor = declared.get(name)
            datatype = tensor.datatype if tensor is not None else datatype_of(values)
            array = shaped(name, values, list(tensor.shape) if tensor is not None else None)
            oip.add_input(request, name, cast(name, array, datatype), datatype)
        for name in options.get("outputs", ()):
            request.outputs.add(name=name)
        at = options.get("event_time")
        parameters = {
            "gyrostat_prediction_id": options.get("prediction_id", ""),
            "gyrostat_entity": options.get("entity", ""),
            "gyrostat_event_time": to_rfc3339(at) if at is not None else "",
        }
        for key, value in parameters.items():
            if value:
                request.parameters[key].string_param = value
        return request

    async def metadata(self, model: str, *, version: str | int = "") -> oip.ModelMetadataResponse:
        """Inputs and outputs of a served model, and which of its versions are live."""
        request = oip.ModelMetadataRequest(name=model, version=str(version))
        reply = await self._inference.unary("ModelMetadata", request, oip.ModelMetadataResponse)
        self._metadata[model, str(version)] = reply
        return reply

    async def models(self) -> list[tuple[str, str, str, str]]:
        """(model, version, state, reason) of everything that the replica has."""
        request = oip.RepositoryIndexRequest()
        reply = await self._inference.unary("RepositoryIndex", request, oip.RepositoryIndexResponse)
        return [(found.name, found.version, found.state, found.reason) for found in reply.models]

    async def ready(self, model: str = "") -> bool:
        """Whether the server, or one model, is ready to answer."""
        if not model:
            server = await self._inference.unary("ServerReady", oip.ServerReadyRequest(), oip.ServerReadyResponse)
            return bool(server.ready)
        try:
            reply = await self._inference.unary("ModelReady", oip.ModelReadyRequest(name=model), oip.ModelReadyResponse)
        except NotFound:
            return False
        return bool(reply.ready)

    async def _known(self, model: str, version: str | int) -> oip.ModelMetadataResponse:
        return self._metadata.get((model, str(version))) or await self.metadata(model, version=version)


class Inference(Blocking):
    """AsyncInference without `await`."""

    predict = blocking(AsyncInference.predict)
    request = blocking(AsyncInference.request)
    metadata = blocking(AsyncInference.metadata)
    models = blocking(AsyncInference.models)
    ready = blocking(AsyncInference.ready)


def prediction_of(reply: oip.ModelInferResponse) -> Prediction:
    """A reply with its outputs as arrays and our parameters as fields."""
    parameters: dict[str, Any] = {key: oip.parameter_value(value) for key, value in reply.parameters.items()}
    datatypes = {tensor.name: tensor.datatype for tensor in reply.outputs}
    arrays = {name: readable(array, datatypes[name]) for name, array in oip.outputs_of(reply).items()}
    return Prediction(
        id=str(parameters.get("gyrostat_prediction_id") or ""),
        model=reply.model_name,
        version=reply.model_version,
        variant=str(parameters.get("gyrostat_variant") or ""),
        revision=int(parameters.get("gyrostat_revision") or 0),
        request_id=reply.id,
        outputs=arrays,
    )
