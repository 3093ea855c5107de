"""Domain values as JSON bodies and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gyrostat_monitor.domain.episodes import Episode, State
from gyrostat_monitor.domain.findings import Kind, Statistic
from gyrostat_monitor.domain.judge import Guard, Judgement, Traffic, Verdict
from gyrostat_monitor.domain.jump import Jump, JumpState, Level
from gyrostat_monitor.domain.plan import Phase, Plan, ProfileRef, Rollout
from gyrostat_monitor.domain.policy import Policy, RolloutPolicy
from gyrostat_monitor.domain.windows import Span


def dumps(body: object) -> str:
    """Compact JSON; NaN and infinities become null."""
    return json.dumps(_plain(body), separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def statistic(body: Mapping[str, Any]) -> Statistic:
    """From its body."""
    floats = ("value", "p_adjusted", "reference", "current", "importance")
    fields: dict[str, Any] = {k: _number(v) if k in floats else v for k, v in body.items()}
    return Statistic(**fields)


def episode_text(episode: Episode) -> str:
    """To its body."""
    return dumps(asdict(episode))


def episode(text: str) -> Episode:
    """From its body."""
    body = json.loads(text)
    body |= {
        "kind": Kind(body["kind"]),
        "state": State(body["state"]),
        "window": Span(**body["window"]),
        "evidence": tuple(statistic(s) for s in body["evidence"]),
        "exemplars": tuple(body["exemplars"]),
        "effect": _number(body["effect"]),
        "severity": _number(body["severity"]),
    }
    return Episode(**body)


def plan_text(plan: Plan) -> str:
    """To its body."""
    body = asdict(plan)
    body["shadows"] = list(plan.shadows)
    return dumps(body)


def plan(text: str) -> Plan:
    """From its body."""
    body = json.loads(text)
    rollout = body["rollout"]
    body |= {
        "shadows": tuple(body["shadows"]),
        "profiles": {int(v): ProfileRef(**p) if p else None for v, p in body["profiles"].items()},
        "policy": Policy(**body["policy"]),
        "rollout_policy": RolloutPolicy(**body["rollout_policy"]),
        "rollout": Rollout(**{**rollout, "phase": Phase(rollout["phase"])}) if rollout else None,
    }
    return Plan(**body)


def jumps_text(state: JumpState) -> str:
    """To its body."""
    return dumps(asdict(state))


def jumps(text: str | None) -> JumpState:
    """From its body; nothing is the beginning."""
    if not text:
        return JumpState()
    body = json.loads(text)
    return JumpState(
        {name: tuple(Level(**level) for level in levels) for name, levels in body["recent"].items()},
        {name: Jump(**jump) for name, jump in body["active"].items()},
        {name: Jump(**jump) for name, jump in body["weak"].items()},
    )


def traffic_text(traffic: Traffic) -> str:
    """To its body."""
    return dumps(asdict(traffic))


def traffic(text: str) -> Traffic:
    """From its body."""
    body = json.loads(text)
    body["latencies"] = {int(k): int(v) for k, v in body["latencies"].items()}
    return Traffic(**body)


def judgement(body: Mapping[str, Any]) -> Judgement:
    """From its body."""
    guards = tuple(
        Guard(g["name"], Verdict(g["verdict"]), {k: _number(v) for k, v in g["numbers"].items()}, g["text"])
        for g in body["guards"]
    )
    return Judgement(
        Verdict(body["verdict"]), guards, body["paired_rows"], body["rows_needed"], body["answers"], body["summary"]
    )
