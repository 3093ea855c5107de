"""Values of the domain as messages of the contract."""

from gyrostat.events.v1.events_pb2 import ServingPlan
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_registry.domain.plan import Plan
from gyrostat_registry.domain.rollout import Rollout
from gyrostat_registry.domain.run import Run
from gyrostat_registry.domain.version import Stage
from gyrostat_registry.service.mapping import filled, number_of
from gyrostat_registry.usecases.catalogue import ModelView
from gyrostat_registry.usecases.versions import VersionView

_STAGE = model_pb2.DESCRIPTOR.enum_types_by_name["Stage"]


def model(view: ModelView) -> model_pb2.Model:
    """A model with its spec and aliases."""
    message = filled(model_pb2.Model(aliases=view.aliases), view.model)
    filled(message.spec, view.spec)
    return message


def version(view: VersionView) -> model_pb2.ModelVersion:
    """A version with its stage."""
    message = filled(model_pb2.ModelVersion(stage_reason=view.reason), view.version)
    message.stage = stage(view.stage)
    return message


def stage(value: Stage) -> model_pb2.Stage:
    """The number of a stage."""
    return number_of(_STAGE, value)  # type: ignore[return-value]


def run(value: Run) -> model_pb2.Run:
    """A run."""
    return filled(model_pb2.Run(), value)


def rollout(value: Rollout) -> registry_pb2.Rollout:
    """A roll-out."""
    return filled(registry_pb2.Rollout(), value)


def plan(value: Plan) -> ServingPlan:
    """A plan, complete."""
    return filled(ServingPlan(), value)
