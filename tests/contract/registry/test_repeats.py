"""Every mutating call, cut after the commit and repeated with its request id: one effect, one answer.

All versions share one artifact here: its graph is read once per registry, which keeps the suite quick.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from gyrostat.events.v1 import events_pb2 as ev
from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from support.registry import Registry, a_spec, onnx_bytes, passing_gates

Prepare = Callable[[Registry], Awaitable[Any]]


async def nothing(registry: Registry) -> None:
    """A fresh registry."""


async def one_live(registry: Registry) -> None:
    """Version 1 is champion, version 2 was registered and held, version 3 pushed by hand."""
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=1.0, hold=True)
    await registry.version(weight=1.0, gates=[])
    await registry.stub.CreateRun(pb.CreateRunRequest(run=model_pb2.Run(id="run-1", model="flights")))
    await registry.stub.SetAlias(pb.SetAliasRequest(model="flights", alias="old", number=1))


async def one_proposed(registry: Registry) -> None:
    """Version 2 waits for approval."""
    await registry.model()
    await registry.version(weight=1.0)
    await registry.stub.SetAutopilot(
        pb.SetAutopilotRequest(model="flights", mode=model_pb2.AUTOPILOT_MODE_PROPOSE, reason="test")
    )
    await registry.version(weight=1.0)


async def one_rolling(registry: Registry) -> None:
    """Version 2 is in shadow."""
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=1.0)


async def proposed_id(registry: Registry) -> str:
    listed = await registry.stub.ListRollouts(pb.ListRolloutsRequest(model="flights", open_only=True))
    return str(listed.rollouts[0].id)


async def approve(registry: Registry) -> pb.ApproveRolloutRequest:
    return pb.ApproveRolloutRequest(rollout_id=await proposed_id(registry), reason="looks good")


async def register(registry: Registry) -> pb.CreateModelVersionRequest:
    sha256 = await registry.upload(onnx_bytes())
    return pb.CreateModelVersionRequest(model="flights", artifact_sha256=sha256, gates=passing_gates())


def fixed(request: Any) -> Callable[[Registry], Awaitable[Any]]:
    async def build(_: Registry) -> Any:
        return request

    return build


OFF = model_pb2.AUTOPILOT_MODE_OFF
CALLS: dict[str, tuple[Prepare, Callable[[Registry], Awaitable[Any]]]] = {
    "CreateModel": (nothing, fixed(pb.CreateModelRequest(name="m", spec=a_spec()))),
    "CreateEnvironment": (nothing, fixed(pb.CreateEnvironmentRequest(environment=pb.Environment(name="staging")))),
    "UpdateModelSpec": (one_live, fixed(pb.UpdateModelSpecRequest(model="flights", spec=a_spec(owner="bob")))),
    "CreateRun": (one_live, fixed(pb.CreateRunRequest(run=model_pb2.Run(model="flights")))),
    "UpdateRun": (
        one_live,
        fixed(pb.UpdateRunRequest(run=model_pb2.Run(id="run-1", metrics=[model_pb2.Metric(name="auc", value=0.7)]))),
    ),
    "CreateModelVersion": (one_live, register),
    "ArchiveModelVersion": (one_live, fixed(pb.ArchiveModelVersionRequest(model="flights", number=3))),
    "SetAlias": (one_live, fixed(pb.SetAliasRequest(model="flights", alias="best", number=1))),
    "DeleteAlias": (one_live, fixed(pb.DeleteAliasRequest(model="flights", alias="old"))),
    "StartRollout": (one_live, fixed(pb.StartRolloutRequest(model="flights", number=2, reason="try"))),
    "ApproveRollout": (one_proposed, approve),
    "Promote": (one_live, fixed(pb.PromoteRequest(model="flights", number=2, reason="now"))),
    "Rollback": (one_rolling, fixed(pb.RollbackRequest(model="flights", reason="no"))),
    "RetireModel": (one_rolling, fixed(pb.RetireModelRequest(model="flights", reason="gone"))),
    "PinShadow": (one_live, fixed(pb.PinShadowRequest(model="flights", number=2, pinned=True))),
    "RepairPlanTopic": (one_live, fixed(pb.RepairPlanTopicRequest(key=b"production/flights", reason="unreadable"))),
    "SetAutopilot": (one_rolling, fixed(pb.SetAutopilotRequest(model="flights", mode=OFF, reason="night"))),
}


async def effects(registry: Registry) -> tuple[int, int, int]:
    """Audit lines, plan revisions and promotions so far."""
    audit = await registry.stub.ListAudit(pb.ListAuditRequest(page_size=1000))
    plans = await registry.said(ev.ServingPlan)
    return len(audit.entries), len(plans), len(await registry.said(ev.ModelPromoted))


def test_every_mutating_call_is_in_the_list() -> None:
    methods = pb.DESCRIPTOR.services_by_name["RegistryService"].methods
    mutating = {method.name for method in methods if "request_id" in method.input_type.fields_by_name}
    assert set(CALLS) == mutating


@pytest.mark.parametrize("method", list(CALLS))
async def test_a_repeat_changes_nothing_and_gets_the_same_answer(registry: Registry, method: str) -> None:
    prepare, build = CALLS[method]
    await prepare(registry)
    request = await build(registry)
    request.request_id = f"once-{method}"
    call = getattr(registry.stub, method)
    before = await effects(registry)
    first = await call(request)
    after = await effects(registry)
    assert after > before
    # As if the reply to the first call had been lost: the client sends the very same message again.
    assert await call(request) == first
    assert await effects(registry) == after


async def test_an_id_of_another_request_is_refused(registry: Registry) -> None:
    await registry.stub.CreateModel(pb.CreateModelRequest(request_id="x", name="one", spec=a_spec()))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await registry.stub.CreateModel(pb.CreateModelRequest(request_id="x", name="two", spec=a_spec()))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
