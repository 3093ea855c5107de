"""The decision over gate numbers: the trainer measured, the registry's thresholds judge."""

from collections.abc import Iterable
from dataclasses import replace

from gyrostat_registry.domain.spec import GateThreshold
from gyrostat_registry.domain.version import GateResult


def judged(results: Iterable[GateResult], thresholds: Iterable[GateThreshold]) -> tuple[GateResult, ...]:
    """Every result with `passed` and `reason` decided here. A number without a threshold is kept, not judged; a number
    that is not a number never passes.
    """
    limits = {threshold.number: threshold.at_most for threshold in thresholds}
    return tuple(_judged(result, limits) for result in results)


def _judged(result: GateResult, limits: dict[str, float]) -> GateResult:
    refused, held = [], []
    for name, value in sorted(result.numbers.items()):
        limit = limits.get(f"{result.gate}.{name}")
        if limit is None:
            continue
        if value <= limit:
            held.append(f"{name} {value:.6g} ≤ {limit:.6g}")
        else:
            refused.append(f"{name} {value:.6g} is above {limit:.6g}")
    if refused:
        return replace(result, passed=False, reason="; ".join(refused))
    note = "; ".join(held) or "shown, not judged"
    return replace(result, passed=True, reason=note)
