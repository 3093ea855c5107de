"""How versions go live and come back: roll-outs, promotion by hand, rollback, plans, replicas, the audit log."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat_client.blocking import Blocking, blocking, blocking_iterator
from gyrostat_client.calls import Endpoint, new_request_id, pages
from gyrostat_client.following import Following, followed
from gyrostat_common.times import to_proto


class AsyncRollouts:
    """Who may go live, and who is taken back."""

    def __init__(self, registry: Endpoint, environment: str) -> None:
        self._registry = registry
        self._environment = environment

    async def list(
        self, model: str = "", *, open_only: bool = False, limit: int | None = 100
    ) -> Sequence[registry_pb2.Rollout]:
        """Roll-outs, newest first."""
        return await pages(
            lambda size, token: self._registry.unary(
                "ListRollouts",
                registry_pb2.ListRolloutsRequest(model=model, page_size=size, page_token=token, open_only=open_only),
                registry_pb2.ListRolloutsResponse,
            ),
            lambda page: page.rollouts,
            limit,
        )

    async def get(self, rollout_id: str) -> registry_pb2.Rollout:
        """One roll-out with its steps."""
        request = registry_pb2.GetRolloutRequest(id=rollout_id)
        return (await self._registry.unary("GetRollout", request, registry_pb2.GetRolloutResponse)).rollout

    async def start(self, model: str, number: int, *, reason: str = "", request_id: str = "") -> registry_pb2.Rollout:
        """Begins shadow → canary → champion for a version."""
        request = registry_pb2.StartRolloutRequest(
            request_id=request_id or new_request_id(),
            environment=self._environment,
            model=model,
            number=number,
            reason=reason,
        )
        return (await self._registry.unary("StartRollout", request, registry_pb2.StartRolloutResponse)).rollout

    async def approve(self, rollout_id: str, *, reason: str = "", request_id: str = "") -> registry_pb2.Rollout:
        """Lets a proposed roll-out start."""
        request = registry_pb2.ApproveRolloutRequest(
            request_id=request_id or new_request_id(), rollout_id=rollout_id, reason=reason
        )
        return (await self._registry.unary("ApproveRollout", request, registry_pb2.ApproveRolloutResponse)).rollout

    async def promote(
        self,
        model: str,
        number: int,
        *,
        reason: str,
        force: bool = False,
        expected_revision: int = 0,
        event_time: datetime | None = None,
        request_id: str = "",
    ) -> registry_pb2.PromoteResponse:
        """Makes a version champion at once, by hand."""
        request = registry_pb2.PromoteRequest(
            request_id=request_id or new_request_id(),
            environment=self._environment,
            model=model,
            number=number,
            reason=reason,
            force=force,
            expected_revision=expected_revision,
            event_time=to_proto(event_time),
        )
        return await self._registry.unary("Promote", request, registry_pb2.PromoteResponse)

    async def rollback(
        self, model: str, *, reason: str, expected_revision: int = 0, request_id: str = ""
    ) -> registry_pb2.RollbackResponse:
        """Ends an open roll-out, or puts the previous champion back when none is open."""
        request = registry_pb2.RollbackRequest(
            request_id=request_id or new_request_id(),
            environment=self._environment,
            model=model,
            reason=reason,
            expected_revision=expected_revision,
        )
        return await self._registry.unary("Rollback", request, registry_pb2.RollbackResponse)

    async def retire(self, model: str, *, reason: str, request_id: str = "") -> events_pb2.ServingPlan:
        """Makes a plan without a champion: the model answers NOT_FOUND."""
        request = registry_pb2.RetireModelRequest(
            request_id=request_id or new_request_id(), environment=self._environment, model=model, reason=reason
        )
        return (await self._registry.unary("RetireModel", request, registry_pb2.RetireModelResponse)).plan

    async def pin_shadow(
        self, model: str, number: int, *, pinned: bool = True, request_id: str = ""
    ) -> events_pb2.ServingPlan:
        """Keeps a version as a shadow that no roll-out removes, or lets it go."""
        request = registry_pb2.PinShadowRequest(
            request_id=request_id or new_request_id(),
            environment=self._environment,
            model=model,
            number=number,
            pinned=pinned,
        )
        return (await self._registry.unary("PinShadow", request, registry_pb2.PinShadowResponse)).plan


class AsyncPlans:
    """Who serves what, now and at any time before."""

    def __init__(self, registry: Endpoint, environment: str) -> None:
        self._registry = registry
        self._environment = environment

    async def get(self, model: str, *, at: datetime | None = None) -> events_pb2.ServingPlan:
        """The plan in force now, or at a wall time."""
        request = registry_pb2.GetPlanRequest(environment=self._environment, model=model, at=to_proto(at))
        return (await self._registry.unary("GetPlan", request, registry_pb2.GetPlanResponse)).plan

    async def list(self, model: str = "", *, limit: int | None = None) -> Sequence[events_pb2.ServingPlan]:
        """The plan in force of every model; or all revisions of one, newest first."""
        return await pages(
            lambda size, token: self._registry.unary(
                "ListPlans",
                registry_pb2.ListPlansRequest(
                    environment=self._environment, model=model, page_size=size, page_token=token
                ),
                registry_pb2.ListPlansResponse,
            ),
            lambda page: page.plans,
            limit,
        )

    async def watch(self) -> AsyncIterator[events_pb2.ServingPlan]:
        """Every plan in force, then each new revision, until the caller stops."""
        request = registry_pb2.WatchPlansRequest(environment=self._environment)
        async for reply in self._registry.server_stream("WatchPlans", request, registry_pb2.WatchPlansResponse):
            yield reply.plan

    async def replicas(self) -> Sequence[events_pb2.PlanApplied]:
        """What every replica last said it serves."""
        request = registry_pb2.ListReplicasRequest(environment=self._environment)
        reply = await self._registry.unary("ListReplicas", request, registry_pb2.ListReplicasResponse)
        return list(reply.replicas)

    async def followed(self, plan: events_pb2.ServingPlan, *, within_s: float = 10.0) -> Following:
        """Which replicas serve the plan, as soon as all that live do or after this many seconds."""
        return await followed(plan, self.replicas, within_s)

    async def repair_topic(
        self, key: bytes = b"", *, reason: str = "", dry_run: bool = False, request_id: str = ""
    ) -> Sequence[registry_pb2.PlanTopicRepair]:
        """Puts right what the registry cannot read in `serving.plan`: all of it, or one key. A dry run only says what
        would be done.
        """
        request = registry_pb2.RepairPlanTopicRequest(
            request_id=request_id or new_request_id(), key=key, reason=reason, dry_run=dry_run
        )
        reply = await self._registry.unary("RepairPlanTopic", request, registry_pb2.RepairPlanTopicResponse)
        return list(reply.repairs)


class AsyncAudit:
    """Who changed what, and why."""

    def __init__(self, registry: Endpoint) -> None:
        self._registry = registry

    async def list(
        self, model: str = "", *, actor: str = "", limit: int | None = 100
    ) -> Sequence[registry_pb2.AuditEntry]:
        """Entries of the audit log, newest first."""
        return await pages(
            lambda size, token: self._registry.unary(
                "ListAudit",
                registry_pb2.ListAuditRequest(model=model, actor=actor, page_size=size, page_token=token),
                registry_pb2.ListAuditResponse,
            ),
            lambda page: page.entries,
            limit,
        )


class Rollouts(Blocking):
    """AsyncRollouts without `await`."""

    list = blocking(AsyncRollouts.list)
    get = blocking(AsyncRollouts.get)
    start = blocking(AsyncRollouts.start)
    approve = blocking(AsyncRollouts.approve)
    promote = blocking(AsyncRollouts.promote)
    rollback = blocking(AsyncRollouts.rollback)
    retire = blocking(AsyncRollouts.retire)
    pin_shadow = blocking(AsyncRollouts.pin_shadow)


class Plans(Blocking):
    """AsyncPlans without `await`."""

    get = blocking(AsyncPlans.get)
    list = blocking(AsyncPlans.list)
    watch = blocking_iterator(AsyncPlans.watch)
    replicas = blocking(AsyncPlans.replicas)
    followed = blocking(AsyncPlans.followed)
    repair_topic = blocking(AsyncPlans.repair_topic)


class Audit(Blocking):
    """AsyncAudit without `await`."""

    list = blocking(AsyncAudit.list)
