"""What the registry says: serving.plan, model.promoted and alert.raised, through the outbox of the same transaction."""

from collections.abc import Callable
from uuid import NAMESPACE_URL, uuid5

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import outbox, telemetry
from gyrostat_common.bus import Event, contract
from gyrostat_common.clock import Clock
from gyrostat_common.database import Database
from gyrostat_common.times import to_proto
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.errors import PlanTooLarge
from gyrostat_registry.domain.evidence import Promotion
from gyrostat_registry.domain.plan import Plan
from gyrostat_registry.events.gauges import Gauges

SOURCE = "gyrostat-registry"
_CHANGE = {
    "promoted": pb.CHANGE_PROMOTED,
    "rolled_back": pb.CHANGE_ROLLED_BACK,
    "retired": pb.CHANGE_RETIRED,
}
# Below the topic's max.message.bytes, headers included: a plan that Kafka refuses would hold up every later one.
LARGEST_PLAN = 1_000_000
log = telemetry.get_logger("registry")


class Announcer:
    """Puts events into the outbox of the transaction that is open, and wakes watchers when it has committed."""

    def __init__(
        self, database: Database, clock: Clock, gauges: Gauges, encode: Callable[[Plan], pb.ServingPlan],
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._database = database
        self._clock = clock
        self._gauges = gauges
        self._encode = encode
        self._changed = changed

    async def plan(self, plan: Plan, caller: Caller) -> None:
        """The plan at its revision, as state."""
        champion = plan.champion.number if plan.champion else 0
        encoded = self._encode(plan)
        if encoded.ByteSize() > LARGEST_PLAN:
            size = encoded.ByteSize()
            raise PlanTooLarge(
                f"the plan of {plan.model} would have {size} bytes; at most {LARGEST_PLAN}: cut the spec"
            )
        await self._send(encoded, f"{plan.environment}/{plan.model}", f"{plan.model}:{champion}", caller)
        self._database.after_commit(lambda: self._in_force(plan))

    def _in_force(self, plan: Plan) -> None:
        self._gauges.show(plan)
        self._changed()
        log.info(
            "plan_in_force",
            environment=plan.environment,
            model=plan.model,
            revision=plan.revision,
            champion=plan.lineup.champion,
            canary=plan.canary.number if plan.canary else 0,
            weight=plan.canary_weight,
            phase=str(plan.phase),
            reason=plan.reason[:300],
        )

    async def promoted(self, promotion: Promotion) -> None:
        """A change of champion, as news."""
        payload = pb.ModelPromoted(
            environment=promotion.environment, model=promotion.model, change=_CHANGE[promotion.change],
            version_before=promotion.version_before, version_after=promotion.version_after,
            plan_revision=promotion.plan_revision, rollout_id=promotion.rollout_id, cause=promotion.cause,
            actor=promotion.actor, approvals=promotion.approvals, evidence=promotion.evidence,
            watermark=to_proto(promotion.event_time),
        )  # fmt: skip
        caller = Caller(promotion.actor, "", promotion.correlation_id, promotion.causation_id)
        await self._send(payload, promotion.model, f"{promotion.model}:{promotion.version_after}", caller)

    async def alert(self, model: str, environment: str, owner: str, summary: str) -> None:
        """Somebody should look."""
        payload = pb.AlertRaised(
            alert_id=str(uuid5(NAMESPACE_URL, f"promotions/{environment}/{model}")), rule="promotions_limited",
            model=model, severity="warning", firing=True, owner=owner, summary=f"{model} in {environment}: {summary}",
            at=to_proto(self._clock.now()),
        )  # fmt: skip
        await self._send(payload, payload.alert_id, model, Caller(SOURCE))

    async def no_plan(self, key: bytes) -> None:
        """Nothing is left of a key of serving.plan. It unloads nothing: only a plan without a champion does."""
        async with self._database.transaction() as tx:
            await outbox.add_tombstone(tx, contract.of_message(pb.ServingPlan).name, key)

    async def waiting(self) -> int:
        """How many events the relay has not sent yet."""
        async with self._database.reading() as connection:
            return await outbox.count(connection)

    async def _send(
        self, payload: pb.ServingPlan | pb.ModelPromoted | pb.AlertRaised, key: str, subject: str, caller: Caller
    ) -> None:
        event = Event(
            payload=payload, key=key, subject=subject, source=SOURCE, time=self._clock.now(),
            correlation_id=caller.correlation_id, causation_id=caller.causation_id,
        )  # fmt: skip
        async with self._database.transaction() as tx:
            await outbox.add(tx, event)
