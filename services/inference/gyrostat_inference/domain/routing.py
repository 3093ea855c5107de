"""Who answers a request and who scores it in the shadow: pure functions of the plan and stable hashes."""

from collections.abc import Container
from dataclasses import dataclass
from hashlib import blake2b

from gyrostat_inference.domain.errors import ModelUnknown, VersionNotLoaded, VersionNotServed
from gyrostat_inference.domain.plan import Plan

PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """A version that may answer, and what it is called in the reply if it does."""

    number: int
    variant: str


def part(*names: str) -> int:
    """A number from 0 to 9,999, the same for the same names in every process and on every machine."""
    digest = blake2b("\0".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PARTS


def sampled(rate: float, *names: str) -> bool:
    """Whether the share `rate` of all names holds this one."""
    return rate >= 1.0 or (rate > 0.0 and part(*names) < rate * PARTS)


def attempts(plan: Plan, loaded: Container[int], version: str, key: str) -> list[Attempt]:
    """Who may answer, best first; the next one only when the one before raises.

    `version` is empty, a number or an alias; `key` is the entity, else the prediction id.
    Raises ModelUnknown for a retired model, VersionNotServed, VersionNotLoaded.
    """
    if plan.champion is None:
        raise ModelUnknown(f"{plan.model} is retired since revision {plan.revision} of its plan")
    if version:
        return [_pinned(plan, loaded, version)]
    chosen = []
    if plan.canary is not None and part(plan.model, plan.rollout_id, key) < plan.canary_weight:
        chosen.append(Attempt(plan.canary.number, "canary"))
    chosen.append(Attempt(plan.champion.number, "champion"))
    if plan.fallback is not None:
        chosen.append(Attempt(plan.fallback.number, "fallback"))
    able = [attempt for attempt in chosen if attempt.number in loaded]
    if not able:
        raise VersionNotLoaded(f"{plan.model}: no version that may answer is loaded; planned: {plan.live()}")
    return able


def _pinned(plan: Plan, loaded: Container[int], version: str) -> Attempt:
    number = resolve(plan, version)
    if number is None or not plan.standing(number):
        raise VersionNotServed(f"{plan.model}:{version} is not served; live: {plan.live()}")
    if number not in loaded:
        raise VersionNotLoaded(f"{plan.model}:{number} ({plan.standing(number)}) is not loaded")
    return Attempt(number, "pinned")


def resolve(plan: Plan, version: str) -> int | None:
    """The number that a number, `champion`, `canary`, `challenger`, `fallback` or a free alias stands for here."""
    if version.isascii() and version.isdecimal():
        return int(version) if len(version) < 20 else None
    if version == "champion" and plan.champion is not None:
        return plan.champion.number
    if version in ("canary", "challenger") and plan.canary is not None:
        return plan.canary.number
    if version == "challenger":
        candidates = [shadow.version.number for shadow in plan.shadows if shadow.purpose == "candidate"]
        if candidates:
            return candidates[0]
    if version == "fallback" and plan.fallback is not None:
        return plan.fallback.number
    return next((number for number, planned in plan.versions().items() if version in planned.aliases), None)


def shadows(plan: Plan, answered: Attempt, prediction_id: str) -> list[int]:
    """The versions that score this request without answering.

    While a roll-out has a canary, champion and canary both score every request. A pinned call stays out of all that.
    """
    if answered.variant == "pinned":
        return []
    wanted = []
    if plan.canary is not None and plan.champion is not None:
        wanted += [plan.champion.number, plan.canary.number]
    for shadow in plan.shadows:
        if sampled(shadow.sample_rate, "shadow", str(shadow.version.number), prediction_id):
            wanted.append(shadow.version.number)
    return [number for number in dict.fromkeys(wanted) if number != answered.number]
