"""What the protocol tells of models: metadata, Triton's configuration, statistics, the index of the repository."""

from collections.abc import Iterable, Iterator
from typing import Any

from gyrostat_common import oip
from gyrostat_inference.domain.counters import Counters, Spent
from gyrostat_inference.domain.live import Applied, LiveModel, LoadedVersion
from gyrostat_inference.domain.plan import TensorSpec

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"
_LONGEST_REASON = 1000


def metadata_of(name: str, live: LiveModel, version: LoadedVersion) -> oip.ModelMetadataResponse:
    """Tensors and versions; properties say which version this is, and how it was opened, so that an audit can do it
    again.
    """
    tensor = oip.ModelMetadataResponse.TensorMetadata
    properties = {
        "version": str(version.number),
        "variant": live.plan.standing(version.number),
        "revision": str(live.plan.revision),
        "sha256": version.planned.artifact.sha256,
        "batching": _batching(live, version),
    }
    return oip.ModelMetadataResponse(
        name=name,
        versions=[str(number) for number in sorted(live.loaded)],
        platform=PLATFORM,
        inputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in version.signature.inputs],
        outputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in version.signature.outputs],
        properties=properties | version.scorer.facts,
    )


def config_of(name: str, live: LiveModel, version: LoadedVersion) -> oip.ModelConfig:
    """In the words of Triton's config.pbtxt, as far as they mean something here."""
    batched, engine = version.signature.batched, live.plan.spec.engine
    config = oip.ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=live.plan.spec.max_rows if batched else 0,
        input=[
            oip.ModelInput(name=t.name, data_type=_type(t), dims=_dims(t, batched)) for t in version.signature.inputs
        ],
        output=[
            oip.ModelOutput(name=t.name, data_type=_type(t), dims=_dims(t, batched)) for t in version.signature.outputs
        ],
        instance_group=[oip.ModelInstanceGroup(name=f"{name}_0", kind="KIND_CPU", count=1)],
        default_model_filename="model.onnx",
    )
    config.version_policy.specific.versions.extend(sorted(live.loaded))
    if not engine.batching.off and not version.alone:
        config.dynamic_batching.max_queue_delay_microseconds = engine.batching.max_delay_us
        config.dynamic_batching.preferred_batch_size.append(engine.batching.max_batch_rows)
        config.dynamic_batching.preserve_ordering = True
    for rows in engine.warm_up.rows:
        _add_warm_up(config, rows, version, batched)
    facts = dict(version.scorer.facts)
    said = {
        # The first two as Triton's ONNX Runtime backend calls them.
        "intra_op_thread_count": facts.pop("intra_op_threads", str(engine.opening.intra_op_threads)),
        "inter_op_thread_count": facts.pop("inter_op_threads", str(engine.opening.inter_op_threads)),
        "queue_max_rows": str(engine.queue.max_rows),
        "queue_max_ms": str(engine.queue.max_ms),
        "batching": _batching(live, version),
    }
    for key, value in (said | facts).items():
        config.parameters[key].string_value = value
    return config


def statistics_of(version: LoadedVersion, counters: Counters) -> oip.ModelStatistics:
    """Since the version was loaded: requests, rows, runs, and where their time went."""
    return oip.ModelStatistics(
        name=version.model,
        version=str(version.number),
        last_inference=counters.last_inference_ms,
        inference_count=counters.inferences,
        execution_count=counters.executions,
        inference_stats=oip.InferStatistics(
            success=_duration(counters.success),
            fail=_duration(counters.fail),
            queue=_duration(counters.queue),
            compute_input=_duration(counters.compute_input),
            compute_infer=_duration(counters.compute_infer),
            compute_output=_duration(counters.compute_output),
        ),
        batch_stats=[
            oip.InferBatchStatistics(batch_size=rows, compute_infer=_duration(spent))
            for rows, spent in sorted(counters.batches.items())
        ],
    )


def index_of(applied: Iterable[Applied], loading: Iterable[Applied], only_ready: bool) -> oip.RepositoryIndexResponse:
    """Every version of every plan once; one that is being loaded again for a new plan answers meanwhile."""
    rows: dict[tuple[str, int], tuple[str, str]] = {}
    for row in applied:
        state = (READY, "") if row.loaded else (UNAVAILABLE, row.reason[:_LONGEST_REASON])
        if rows.get((row.model, row.version), state)[0] != READY or row.loaded:
            rows[row.model, row.version] = state
    for row in loading:
        if rows.get((row.model, row.version), (UNAVAILABLE, ""))[0] != READY:
            rows[row.model, row.version] = (LOADING, row.reason)
    index = oip.RepositoryIndexResponse.ModelIndex
    return oip.RepositoryIndexResponse(
        models=[
            index(name=model, version=str(version), state=state, reason=reason)
            for (model, version), (state, reason) in sorted(rows.items())
            if state == READY or not only_ready
        ]
    )


def _batching(live: LiveModel, version: LoadedVersion) -> str:
    if live.plan.spec.engine.batching.off:
        return "alone: off by the spec"
    return f"alone: {version.alone}" if version.alone else "together"


def _add_warm_up(config: oip.ModelConfig, rows: int, version: LoadedVersion, batched: bool) -> None:
    warm_up = config.model_warmup.add(name=f"{rows} rows", batch_size=rows if batched else 0, count=1)
    samples = version.scorer.facts.get("warm_up", "zeros") != "zeros"
    for spec in version.signature.inputs:
        given = warm_up.inputs[spec.name]
        given.data_type = _type(spec)
        given.dims.extend(max(size, 1) for size in _dims(spec, batched))
        if samples:
            given.input_data_file = "samples"
        else:
            given.zero_data = True


def _type(spec: TensorSpec) -> Any:
    return "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"


def _dims(spec: TensorSpec, batched: bool) -> Iterator[int]:
    return iter(spec.shape[1:] if batched and spec.batched else spec.shape)


def _duration(spent: Spent) -> oip.StatisticDuration:
    return oip.StatisticDuration(count=spent.count, ns=spent.ns)
