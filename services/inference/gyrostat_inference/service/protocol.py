"""The RPCs of the Open Inference Protocol: decode, use case, encode."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol
from uuid import UUID

from opentelemetry import trace

from gyrostat_common import oip, rpc
from gyrostat_common.errors import GyrostatError
from gyrostat_inference import __version__
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import Answer, Call
from gyrostat_inference.domain.counters import Counters, Spent
from gyrostat_inference.domain.errors import ModelUnknown, PlanDecides, VersionNotLoaded, VersionNotServed
from gyrostat_inference.domain.live import Applied, LiveModel, LiveModels, LoadedVersion
from gyrostat_inference.domain.plan import TensorSpec
from gyrostat_inference.service.decoding import call_of, reply_of
from gyrostat_inference.usecases.predict import Predict

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics", "gyrostat")
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
QUIET = frozenset(("ModelInfer", "ModelStreamInfer", "ServerLive", "ServerReady", "ModelReady"))


class Whole(Protocol):
    """Speaks for the replica, of which this process may be one of several."""

    async def counters(self) -> Mapping[tuple[str, int], Counters]:
        """By model and version. Raises Unavailable when others do not say in time."""
        ...

    async def applied(self) -> list[Applied]: ...


class OneProcess:
    """Where this process is the whole replica."""

    def __init__(self, models: LiveModels) -> None:
        self._models = models

    async def counters(self) -> Mapping[tuple[str, int], Counters]:
        live = self._models.models()
        return {(each.model, each.number): each.counters for one in live for each in one.loaded.values()}

    async def applied(self) -> list[Applied]:
        return self._models.applied()


class InferenceService:
    """Names of methods are the protocol's."""

    def __init__(
        self, predict: Predict, models: LiveModels, not_ready: Callable[[], str | None], whole: Whole | None = None
    ) -> None:
        self._predict, self._models, self._not_ready = predict, models, not_ready
        self._whole: Whole = whole or OneProcess(models)

    async def ModelInfer(self, request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        call = call_of(request, context.invocation_metadata() or (), self._max_rows(request.model_name))
        answer = await self._predict.answer(call, rpc.answer_by())
        if call.traceparent:
            _describe(trace.get_current_span(), call, answer)
        return reply_of(request, call, answer)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[oip.ModelInferRequest], context: Any
    ) -> AsyncIterator[oip.ModelStreamInferResponse]:
        """One reply per request, in order; a request that fails does not end the stream."""
        metadata = context.invocation_metadata() or ()
        async for request in requests:
            try:
                call = call_of(request, metadata, self._max_rows(request.model_name))
                reply = reply_of(request, call, await self._predict.answer(call, rpc.answer_by()))
                yield oip.ModelStreamInferResponse(infer_response=reply)
            except GyrostatError as error:
                failed = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
                yield oip.ModelStreamInferResponse(error_message=str(error), infer_response=failed)

    async def ServerLive(self, request: oip.ServerLiveRequest, context: Any) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(self, request: oip.ServerReadyRequest, context: Any) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._not_ready() is None)

    async def ModelReady(self, request: oip.ModelReadyRequest, context: Any) -> oip.ModelReadyResponse:
        try:
            self._version(request.name, request.version)
        except (ModelUnknown, VersionNotServed, VersionNotLoaded):
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, request: oip.ServerMetadataRequest, context: Any) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name="gyrostat", version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: oip.ModelMetadataRequest, context: Any) -> oip.ModelMetadataResponse:
        live, version = self._version(request.name, request.version)
        tensor = oip.ModelMetadataResponse.TensorMetadata
        return oip.ModelMetadataResponse(
            name=request.name,
            versions=[str(number) for number in sorted(live.loaded)],
            platform=PLATFORM,
            inputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in version.signature.inputs],
            outputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in version.signature.outputs],
            properties={
                "version": str(version.number),
                "variant": live.plan.standing(version.number),
                "revision": str(live.plan.revision),
                "sha256": version.planned.artifact.sha256,
            },
        )

    async def ModelConfig(self, request: oip.ModelConfigRequest, context: Any) -> oip.ModelConfigResponse:
        live, version = self._version(request.name, request.version)
        batched = version.signature.batched
        config = oip.ModelConfig(
            name=request.name,
            platform=PLATFORM,
            backend=BACKEND,
            max_batch_size=live.plan.spec.max_rows if batched else 0,
            input=[
                oip.ModelInput(name=t.name, data_type=_type(t), dims=_dims(t, batched))
                for t in version.signature.inputs
            ],
            output=[
                oip.ModelOutput(name=t.name, data_type=_type(t), dims=_dims(t, batched))
                for t in version.signature.outputs
            ],
            instance_group=[oip.ModelInstanceGroup(name=f"{request.name}_0", kind="KIND_CPU", count=1)],
            default_model_filename="model.onnx",
        )
        config.version_policy.specific.versions.extend(sorted(live.loaded))
        config.parameters["intra_op_thread_count"].string_value = str(live.plan.spec.engine.opening.intra_op_threads)
        return oip.ModelConfigResponse(config=config)

    async def ModelStatistics(self, request: oip.ModelStatisticsRequest, context: Any) -> oip.ModelStatisticsResponse:
        if request.name and (request.version or self._models.get(request.name) is None):
            versions = [self._version(request.name, request.version)[1]]
        else:
            lives = [live for live in self._models.models() if request.name in ("", live.plan.model)]
            versions = [version for live in lives for _, version in sorted(live.loaded.items())]
        counters = await self._whole.counters()
        return oip.ModelStatisticsResponse(
            model_stats=[_statistics(v, counters.get((v.model, v.number), v.counters)) for v in versions]
        )

    async def RepositoryIndex(self, request: oip.RepositoryIndexRequest, context: Any) -> oip.RepositoryIndexResponse:
        index = oip.RepositoryIndexResponse.ModelIndex
        rows = [
            index(name=a.model, version=str(a.version), state="READY" if a.loaded else "UNAVAILABLE", reason=a.reason)
            for a in await self._whole.applied()
        ]
        return oip.RepositoryIndexResponse(models=[row for row in rows if row.state == "READY" or not request.ready])

    async def RepositoryModelLoad(self, request: oip.RepositoryModelLoadRequest, context: Any) -> None:
        raise PlanDecides(
            f"{request.model_name}: the serving plan decides what is loaded; promote or roll out a version"
        )

    async def RepositoryModelUnload(self, request: oip.RepositoryModelUnloadRequest, context: Any) -> None:
        raise PlanDecides(
            f"{request.model_name}: the serving plan decides what is loaded; roll back or retire the model"
        )

    def _max_rows(self, model: str) -> int | None:
        """None where a request's first dimension is not its rows, or no such model is served."""
        live = self._models.get(model)
        if live is None or not all(
            spec.batched for version in live.loaded.values() for spec in version.signature.inputs
        ):
            return None
        return live.plan.spec.max_rows

    def _version(self, model: str, version: str) -> tuple[LiveModel, LoadedVersion]:
        """The version that was asked for, else the champion. Raises as a prediction would."""
        live = self._models.get(model)
        if live is None:
            raise ModelUnknown(f"no model is named '{model}'")
        attempt = routing.attempts(live.plan, live.loaded, version or "champion", "")[0]
        return live, live.loaded[attempt.number]


def _describe(span: trace.Span, call: Call, answer: Answer) -> None:
    """What a sampled call's span says beside its method. No values."""
    span.set_attribute("gyrostat.model", f"{call.model}:{answer.version}")
    span.set_attribute("gyrostat.variant", answer.variant)
    span.set_attribute("gyrostat.revision", answer.revision)
    span.set_attribute("gyrostat.prediction_id", str(UUID(bytes=call.prediction_id)))


def _type(spec: TensorSpec) -> Any:
    return "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"


def _dims(spec: TensorSpec, batched: bool) -> Iterator[int]:
    return iter(spec.shape[1:] if batched and spec.batched else spec.shape)


def _duration(spent: Spent) -> oip.StatisticDuration:
    return oip.StatisticDuration(count=spent.count, ns=spent.ns)


def _statistics(version: LoadedVersion, c: Counters) -> oip.ModelStatistics:
    return oip.ModelStatistics(
        name=version.model,
        version=str(version.number),
        last_inference=c.last_inference_ms,
        inference_count=c.inferences,
        execution_count=c.executions,
        inference_stats=oip.InferStatistics(
            success=_duration(c.success),
            fail=_duration(c.fail),
            queue=_duration(c.queue),
            compute_input=_duration(c.compute_input),
            compute_infer=_duration(c.compute_infer),
            compute_output=_duration(c.compute_output),
        ),
        batch_stats=[
            oip.InferBatchStatistics(batch_size=rows, compute_infer=_duration(spent))
            for rows, spent in sorted(c.batches.items())
        ],
    )
