"""What the registry says to Prometheus: who is live, and where each roll-out stands."""

from gyrostat_common import telemetry
from gyrostat_registry.domain.plan import Phase, Plan

_live = telemetry.gauge(
    "gyrostat_live_info", "1 for every version in a plan in force, by role", ("environment", "model", "version", "role")
)
_step = telemetry.gauge(
    "gyrostat_rollout_step",
    "Share of requests that the candidate of the open roll-out answers, in percent; -1: no roll-out is open",
    ("environment", "model"),
)


class Gauges:
    """Shows plans; forgets who left them."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._revisions: dict[tuple[str, str], int] = {}

    def show(self, plan: Plan) -> None:
        """The plan in force; an older one than was shown last is ignored."""
        key = (plan.environment, plan.model)
        if plan.revision < self._revisions.get(key, 0):
            return
        self._revisions[key] = plan.revision
        roles = _roles(plan)
        for version, role in self._shown.get(key, set()) - roles:
            _live.remove(*key, version, role)
        for version, role in roles:
            _live.labels(*key, version, role).set(1)
        self._shown[key] = roles
        _step.labels(*key).set(_percent(plan))


def _roles(plan: Plan) -> set[tuple[str, str]]:
    named = [(plan.champion, "champion"), (plan.canary, "canary"), (plan.fallback, "fallback")]
    roles = {(str(version.number), role) for version, role in named if version is not None}
    return roles | {(str(shadow.version.number), f"shadow_{shadow.purpose}") for shadow in plan.shadows}


def _percent(plan: Plan) -> float:
    if plan.phase is Phase.NONE:
        return -1.0
    return 100.0 if plan.phase is Phase.GUARD else plan.canary_weight / 100
