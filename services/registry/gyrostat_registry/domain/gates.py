"""The decision over gate numbers: the trainer measured, the registry's thresholds judge."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from gyrostat_registry.domain.spec import GateThreshold
from gyrostat_registry.domain.version import GateResult


def judged(results: Iterable[GateResult], thresholds: Iterable[GateThreshold]) -> tuple[GateResult, ...]:
    """Every result with `passed` and `reason` decided here; nothing when nothing was measured at all.

    A number without a threshold is kept, not judged; one that is not a number never passes. A threshold whose number
    did not come refuses, unless its gate says why it could not be measured: silence is no evidence. An infinite
    threshold wants nothing: so a spec does without a default on purpose.
    """
    came = {result.gate: result for result in results}
    if not came:
        return ()
    limits: dict[str, dict[str, float]] = {gate: {} for gate in came}
    for threshold in thresholds:
        gate, _, number = threshold.number.partition(".")
        if threshold.at_most != inf:
            limits.setdefault(gate, {})[number] = threshold.at_most
    return tuple(_judged(came.get(gate, GateResult(gate)), wanted) for gate, wanted in limits.items())


def _judged(result: GateResult, limits: dict[str, float]) -> GateResult:
    refused, held = [], []
    for name, limit in sorted(limits.items()):
        value = result.numbers.get(name)
        if value is None:
            if not result.not_measured:
                why = f" ({result.reason})" if result.reason else ""
                refused.append(f"{name} did not come{why}, and its threshold is {limit:.6g}")
        elif value <= limit:
            held.append(f"{name} {value:.6g} ≤ {limit:.6g}")
        else:
            refused.append(f"{name} {value:.6g} is above {limit:.6g}")
    if refused:
        return replace(result, passed=False, reason="; ".join(refused))
    if result.not_measured:
        held.append(f"not measured: {result.not_measured}")
    return replace(result, passed=True, reason="; ".join(held) or _shown(result))


def _shown(result: GateResult) -> str:
    return f"shown, not judged: {result.reason}" if result.reason else "shown, not judged"
