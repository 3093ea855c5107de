"""The RPCs of the Open Inference Protocol: decode, use case, encode."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from opentelemetry import trace

from gyrostat_common import oip, rpc
from gyrostat_common.errors import GyrostatError
from gyrostat_common.rpc.status import text_of
from gyrostat_inference import __version__
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.errors import ModelUnknown, PlanDecides, VersionNotLoaded, VersionNotServed
from gyrostat_inference.domain.live import Applied, LiveModel, LiveModels, LoadedVersion
from gyrostat_inference.service.decoding import call_of, describe, reply_of
from gyrostat_inference.service.describing import config_of, index_of, metadata_of, statistics_of
from gyrostat_inference.service.streams import in_order
from gyrostat_inference.usecases.predict import Predict

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics", "gyrostat")
QUIET = frozenset(("ModelInfer", "ModelStreamInfer", "ServerLive", "ServerReady", "ModelReady"))


class Whole(Protocol):
    """Speaks for the replica, of which this process may be one of several."""

    async def counters(self) -> Mapping[tuple[str, int], Counters]:
        """By model and version. Raises Unavailable when others do not say in time."""
        ...

    def serves(self, model: str) -> bool:
        """Whether every process that answers has the model: a caller's next connection may be with another."""
        ...

    async def applied(self) -> list[Applied]: ...


class OneProcess:
    """Where this process is the whole replica."""

    def __init__(self, models: LiveModels) -> None:
        self._models = models

    async def counters(self) -> Mapping[tuple[str, int], Counters]:
        live = self._models.models()
        return {(each.model, each.number): each.counters for one in live for each in one.loaded.values()}

    def serves(self, model: str) -> bool:
        return self._models.get(model) is not None

    async def applied(self) -> list[Applied]:
        return self._models.applied()


class InferenceService:
    """Names of methods are the protocol's."""

    def __init__(
        self,
        predict: Predict,
        models: LiveModels,
        not_ready: Callable[[], str | None],
        whole: Whole | None = None,
        again: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._predict, self._models, self._not_ready = predict, models, not_ready
        self._whole: Whole = whole or OneProcess(models)
        self._again = again

    async def ModelInfer(self, request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        call = call_of(request, context.invocation_metadata() or (), self._max_rows(request.model_name))
        answer = await self._predict.answer(call, rpc.answer_by())
        if call.traceparent:
            describe(trace.get_current_span(), call, answer)
        return reply_of(request, call, answer)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[oip.ModelInferRequest], context: Any
    ) -> AsyncIterator[oip.ModelStreamInferResponse]:
        """One reply per request, in order; a request that fails does not end the stream. Several are in flight."""
        metadata = context.invocation_metadata() or ()

        async def answer(request: oip.ModelInferRequest) -> oip.ModelStreamInferResponse:
            try:
                call = call_of(request, metadata, self._max_rows(request.model_name))
                reply = reply_of(request, call, await self._predict.answer(call, rpc.answer_by()))
                return oip.ModelStreamInferResponse(infer_response=reply)
            except GyrostatError as error:
                failed = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
                return oip.ModelStreamInferResponse(error_message=text_of(error), infer_response=failed)

        replies = in_order(requests, answer)
        try:
            async for reply in replies:
                yield reply
        finally:
            await replies.aclose()

    async def ServerLive(self, request: oip.ServerLiveRequest, context: Any) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(self, request: oip.ServerReadyRequest, context: Any) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._not_ready() is None)

    async def ModelReady(self, request: oip.ModelReadyRequest, context: Any) -> oip.ModelReadyResponse:
        try:
            self._version(request.name, request.version)
        except (ModelUnknown, VersionNotServed, VersionNotLoaded):
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=self._whole.serves(request.name))

    async def ServerMetadata(self, request: oip.ServerMetadataRequest, context: Any) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name="gyrostat", version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: oip.ModelMetadataRequest, context: Any) -> oip.ModelMetadataResponse:
        live, version = self._version(request.name, request.version)
        return metadata_of(request.name, live, version)

    async def ModelConfig(self, request: oip.ModelConfigRequest, context: Any) -> oip.ModelConfigResponse:
        live, version = self._version(request.name, request.version)
        return oip.ModelConfigResponse(config=config_of(request.name, live, version))

    async def ModelStatistics(self, request: oip.ModelStatisticsRequest, context: Any) -> oip.ModelStatisticsResponse:
        if request.name and (request.version or self._models.get(request.name) is None):
            versions = [self._version(request.name, request.version)[1]]
        else:
            lives = [live for live in self._models.models() if request.name in ("", live.plan.model)]
            versions = [version for live in lives for _, version in sorted(live.loaded.items())]
        counters = await self._whole.counters()
        return oip.ModelStatisticsResponse(
            model_stats=[statistics_of(v, counters.get((v.model, v.number), v.counters)) for v in versions]
        )

    async def RepositoryIndex(self, request: oip.RepositoryIndexRequest, context: Any) -> oip.RepositoryIndexResponse:
        return index_of(await self._whole.applied(), self._models.loading(), request.ready)

    async def RepositoryModelLoad(
        self, request: oip.RepositoryModelLoadRequest, context: Any
    ) -> oip.RepositoryModelLoadResponse:
        """Tries again what the plan names and could not be loaded; what is loaded already stays as it is."""
        if request.parameters:
            raise PlanDecides(f"{request.model_name}: the model's spec decides how it is opened, not the call")
        if self._again is None:
            raise PlanDecides(
                f"{request.model_name}: the serving plan decides what is loaded; it is tried again by itself"
            )
        await self._again(request.model_name)
        return oip.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: oip.RepositoryModelUnloadRequest, context: Any) -> None:
        raise PlanDecides(
            f"{request.model_name}: the serving plan decides what is loaded; roll back or retire the model"
        )

    def _max_rows(self, model: str) -> int | None:
        """None where a request's first dimension is not its rows, or no such model is served."""
        live = self._models.get(model)
        return None if live is None else live.max_rows

    def _version(self, model: str, version: str) -> tuple[LiveModel, LoadedVersion]:
        """The version that was asked for, else the champion. Raises as a prediction would."""
        live = self._models.get(model)
        if live is None:
            raise self._models.unknown(model)
        attempt = routing.attempts(live.plan, live.loaded, version or "champion", "")[0]
        return live, live.loaded[attempt.number]
