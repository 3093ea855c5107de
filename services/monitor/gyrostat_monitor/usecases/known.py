"""What is known of models right now: plans in force, profiles by version. Filled from the store at start."""

from __future__ import annotations

from gyrostat_common.clock import Clock
from gyrostat_common.profile import Profile
from gyrostat_common.times import to_us
from gyrostat_monitor.domain.errors import PlanBehind
from gyrostat_monitor.domain.joins import Pairing
from gyrostat_monitor.domain.outcomes import Claim, check
from gyrostat_monitor.domain.plan import Plan, ProfileRef
from gyrostat_monitor.domain.policy import Policy
from gyrostat_monitor.domain.ticks import Layout
from gyrostat_monitor.domain.watermark import ACTIVE_US
from gyrostat_monitor.usecases.ports import ProfileFiles, Records

PLAN_PATIENCE_US = 10_000_000
"""How long (wall) after their arrival rows of an unknown version wait for the plan that names it."""
REGRESSION_CLIP_SD = 4.0


class Known:
    """Plans and profiles of one environment."""

    def __init__(
        self, records: Records, files: ProfileFiles, clock: Clock, environment: str, active_us: int = ACTIVE_US
    ) -> None:
        self.environment = environment
        self.active_us = active_us
        self._records, self._files, self._clock = records, files, clock
        self._plans: dict[str, Plan] = {}
        self._refs: dict[tuple[str, int], ProfileRef | None] = {}
        self._layouts: dict[tuple[str, int], Layout] = {}

    async def load(self) -> None:
        """From the store."""
        self._plans = await self._records.plans(self.environment)
        self._refs = await self._records.profile_refs()

    def put(self, plan: Plan) -> None:
        """After a plan was stored."""
        self._plans[plan.model] = plan
        self._refs.update({(plan.model, version): ref for version, ref in plan.profiles.items()})

    def plan(self, model: str) -> Plan | None:
        """The plan in force."""
        return self._plans.get(model)

    def now_us(self) -> int:
        """Wall time, microseconds."""
        return to_us(self._clock.now())

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All plans in force."""
        return tuple(self._plans.values())

    def policy(self, model: str) -> Policy:
        """The plan's, or the defaults."""
        plan = self._plans.get(model)
        return plan.policy if plan else Policy()

    def check(self, claim: Claim, now_us: int) -> None:
        """Raises OutcomeInvalid. What the spec says of values and entities counts from the model's first plan on."""
        plan = self._plans.get(claim.model)
        check(claim, plan.policy if plan else None, now_us)

    async def layout(self, model: str, version: int, arrived_us: int = 0) -> Layout:
        """The version's layout. Raises PlanBehind while its plan may still be on its way."""
        key = (model, version)
        if key in self._layouts:
            return self._layouts[key]
        if key not in self._refs:
            if self.now_us() - arrived_us < PLAN_PATIENCE_US:
                raise PlanBehind(f"no plan has named {model}:{version} yet")
            return Layout(None)
        ref = self._refs[key]
        layout = Layout(await self._files.load(ref) if ref else None)
        self._layouts[key] = layout
        return layout

    async def profile(self, model: str, version: int) -> Profile | None:
        """The version's reference profile, if it has one."""
        return (await self.layout(model, version)).profile if (model, version) in self._refs else None

    async def pairing(self, plan: Plan | None) -> Pairing | None:
        """What the open roll-out pairs."""
        if plan is None or plan.rollout is None:
            return None
        rollout, scale = plan.rollout, 1.0
        if plan.policy.task == "regression":
            profile = await self.profile(plan.model, rollout.baseline)
            if profile and profile.loss:
                scale = max(REGRESSION_CLIP_SD * profile.loss.row_sd, 1e-9)
        return Pairing(rollout.candidate, rollout.baseline, rollout.started_us, scale)
