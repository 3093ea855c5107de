"""Calls about roll-outs, champions, autopilot, plans and replicas."""

from collections.abc import AsyncIterator
from typing import Any

from gyrostat.events.v1.events_pb2 import PlanApplied
from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_common.times import from_proto
from gyrostat_registry.domain.paging import token
from gyrostat_registry.domain.spec import Mode
from gyrostat_registry.service import encode
from gyrostat_registry.service.calls import Calls, asked, caller, once
from gyrostat_registry.service.mapping import named, number_of

_MODE = model_pb2.DESCRIPTOR.enum_types_by_name["AutopilotMode"]


class LiveCalls(Calls):
    """decode > use case > encode."""

    @once
    async def StartRollout(self, request: pb.StartRolloutRequest, context: Any) -> pb.StartRolloutResponse:
        started = await self._cases.rollouts.start(
            caller(request), request.environment, request.model, request.number, request.reason
        )
        return pb.StartRolloutResponse(rollout=encode.rollout(started))

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Any) -> pb.GetRolloutResponse:
        return pb.GetRolloutResponse(rollout=encode.rollout(await self._cases.rollouts.get(request.id)))

    async def ListRollouts(self, request: pb.ListRolloutsRequest, context: Any) -> pb.ListRolloutsResponse:
        found = await self._cases.rollouts.list(request.model, request.open_only, asked(request))
        return pb.ListRolloutsResponse(rollouts=map(encode.rollout, found.rows), next_page_token=token(found.last))

    @once
    async def ApproveRollout(self, request: pb.ApproveRolloutRequest, context: Any) -> pb.ApproveRolloutResponse:
        approved = await self._cases.rollouts.approve(caller(request), request.rollout_id, request.reason)
        return pb.ApproveRolloutResponse(rollout=encode.rollout(approved))

    @once
    async def Promote(self, request: pb.PromoteRequest, context: Any) -> pb.PromoteResponse:
        plan, rollout = await self._cases.champions.promote(
            caller(request), request.environment, request.model, request.number, reason=request.reason,
            force=request.force, expected_revision=request.expected_revision,
            event_time=from_proto(request.event_time),
        )  # fmt: skip
        return pb.PromoteResponse(plan=encode.plan(plan), rollout=encode.rollout(rollout))

    @once
    async def Rollback(self, request: pb.RollbackRequest, context: Any) -> pb.RollbackResponse:
        plan, rollout = await self._cases.champions.roll_back(
            caller(request), request.environment, request.model, reason=request.reason,
            expected_revision=request.expected_revision,
        )  # fmt: skip
        ended = None if rollout is None else encode.rollout(rollout)
        return pb.RollbackResponse(plan=encode.plan(plan), rollout=ended)

    @once
    async def RetireModel(self, request: pb.RetireModelRequest, context: Any) -> pb.RetireModelResponse:
        plan = await self._cases.champions.retire(caller(request), request.environment, request.model, request.reason)
        return pb.RetireModelResponse(plan=encode.plan(plan))

    @once
    async def PinShadow(self, request: pb.PinShadowRequest, context: Any) -> pb.PinShadowResponse:
        plan = await self._cases.champions.pin(
            caller(request), request.environment, request.model, request.number, request.pinned
        )
        return pb.PinShadowResponse(plan=encode.plan(plan))

    @once
    async def SetAutopilot(self, request: pb.SetAutopilotRequest, context: Any) -> pb.SetAutopilotResponse:
        mode = named(Mode, _MODE, request.mode)
        own, everywhere = await self._cases.autopilot.set(caller(request), request.model, mode, request.reason)
        return pb.SetAutopilotResponse(model_mode=_mode(own), global_mode=_mode(everywhere))

    async def GetAutopilot(self, request: pb.GetAutopilotRequest, context: Any) -> pb.GetAutopilotResponse:
        own, everywhere, effective = await self._cases.autopilot.get(request.model)
        return pb.GetAutopilotResponse(model_mode=_mode(own), global_mode=_mode(everywhere), effective=_mode(effective))

    async def GetPlan(self, request: pb.GetPlanRequest, context: Any) -> pb.GetPlanResponse:
        plan = await self._cases.plans.get(request.environment, request.model, from_proto(request.at))
        return pb.GetPlanResponse(plan=encode.plan(plan))

    async def ListPlans(self, request: pb.ListPlansRequest, context: Any) -> pb.ListPlansResponse:
        found = await self._cases.plans.list(request.environment, request.model, asked(request))
        return pb.ListPlansResponse(plans=map(encode.plan, found.rows), next_page_token=token(found.last))

    async def WatchPlans(self, request: pb.WatchPlansRequest, context: Any) -> AsyncIterator[pb.WatchPlansResponse]:
        async for plan in self._cases.plans.watch(request.environment):
            yield pb.WatchPlansResponse(plan=encode.plan(plan))

    async def ListReplicas(self, request: pb.ListReplicasRequest, context: Any) -> pb.ListReplicasResponse:
        found = await self._cases.plans.replicas(request.environment)
        return pb.ListReplicasResponse(replicas=[PlanApplied.FromString(replica.payload) for replica in found])

    @once
    async def RepairPlanTopic(self, request: pb.RepairPlanTopicRequest, context: Any) -> pb.RepairPlanTopicResponse:
        mended = await self._cases.repair.mend(caller(request), request.key, request.reason, dry_run=request.dry_run)
        return pb.RepairPlanTopicResponse(
            repairs=[
                pb.PlanTopicRepair(key=one.key, action=one.action, revision=one.revision, found=one.found)
                for one in mended
            ]
        )


def _mode(mode: Mode) -> model_pb2.AutopilotMode:
    return number_of(_MODE, mode)  # type: ignore[return-value]
