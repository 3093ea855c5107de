"""serving.plan as a domain Plan, and the handler that hands it over."""

from collections.abc import Awaitable, Callable, Iterable
from types import MappingProxyType

from google.protobuf.message import DecodeError

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2
from gyrostat_common.bus import Received, Tombstone
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.engine_settings import (
    Batching,
    EngineSettings,
    Opening,
    Optimization,
    QueueLimits,
    WarmUp,
    settled,
)
from gyrostat_inference.domain.plan import (
    ArtifactRef,
    Plan,
    PlannedVersion,
    Sensitivity,
    ServingSpec,
    Shadow,
    Signature,
    TensorSpec,
)

PRODUCTION = "production"


class NoPlan(InvalidInput):
    """The bytes are no ServingPlan."""


def plan_of(message: pb.ServingPlan) -> Plan:
    """The plan in domain words; what is absent gets the contract's default."""
    return Plan(
        environment=message.environment or PRODUCTION,
        model=message.model,
        revision=message.revision,
        champion=_version(message.champion) if message.HasField("champion") else None,
        canary=_version(message.canary) if message.HasField("canary") else None,
        canary_weight=message.canary_weight,
        shadows=tuple(
            Shadow(_version(shadow.version), shadow.pinned, shadow.sample_rate or 1.0, shadow.purpose)
            for shadow in message.shadows
        ),
        fallback=_version(message.fallback) if message.HasField("fallback") else None,
        rollout_id=message.rollout_id,
        spec=_spec(message.spec),
    )


def decode_plan(raw: bytes) -> Plan:
    """A plan from the cache. Raises NoPlan."""
    try:
        return plan_of(pb.ServingPlan.FromString(raw))
    except (DecodeError, ValueError) as error:
        raise NoPlan(f"no serving plan: {error}") from error


def _version(message: pb.PlannedVersion) -> PlannedVersion:
    return PlannedVersion(
        number=message.number,
        artifact=_artifact(message.artifact),
        signature=Signature(_tensors(message.signature.inputs), _tensors(message.signature.outputs)),
        profile=_artifact(message.profile) if message.profile.sha256 else None,
        aliases=tuple(message.aliases),
        warm_up=_artifact(message.warm_up) if message.warm_up.sha256 else None,
    )


def _artifact(message: model_pb2.Artifact) -> ArtifactRef:
    return ArtifactRef(message.sha256, message.size_bytes, message.uri)


def _tensors(messages: Iterable[model_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in messages)


def _spec(message: model_pb2.ModelSpec) -> ServingSpec:
    most = Sensitivity.DROP  # one that this release does not know is kept as little as possible
    kept = {
        name: Sensitivity(min(value, most)) for name, value in message.sensitivity.items() if value > Sensitivity.PLAIN
    }
    return ServingSpec(
        entity_input=message.entity_input,
        sensitivity=MappingProxyType(kept),
        log_sample_rate=message.log_sample_rate if message.HasField("log_sample_rate") else 1.0,
        max_rows=message.engine.max_rows or 4096,
        engine=_engine(message.engine),
    )


def _engine(message: model_pb2.EngineSettings) -> EngineSettings:
    """0 means the default, also where an older registry did not fill it in."""
    known = {level.value for level in Optimization}
    queue, batching = QueueLimits(), message.batching
    return settled(
        EngineSettings(
            Opening(
                intra_op_threads=message.intra_op_threads or 1,
                inter_op_threads=message.inter_op_threads or 1,
                optimization=Optimization(message.optimization) if message.optimization in known else Optimization.ALL,
                providers=tuple(message.execution_providers),
                deterministic=message.deterministic,
            ),
            WarmUp(tuple(message.warm_up.rows), message.warm_up.samples_json),
            Batching(batching.off, batching.max_delay_us, batching.max_batch_rows or Batching().max_batch_rows),
            QueueLimits(message.queue.max_rows or queue.max_rows, message.queue.max_ms or queue.max_ms),
        )
    )


def handler(
    environment: str, follow: Callable[[Plan, bytes], Awaitable[None]]
) -> Callable[[Received | Tombstone], Awaitable[None]]:
    """Gives plans of one environment to `follow`, with their bytes for the cache.

    Retirement is a plan without a champion: a tombstone unloads nothing.
    """

    async def handle(record: Received | Tombstone) -> None:
        if isinstance(record, Tombstone):
            return
        message = record.event.payload
        assert isinstance(message, pb.ServingPlan)
        plan = plan_of(message)
        if plan.environment == environment:
            await follow(plan, message.SerializeToString())

    return handle
