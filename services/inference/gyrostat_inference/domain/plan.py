"""Who serves what for one model: the plan as the registry made it, immutable.

Made by `events` from serving.plan, cached by `store`, followed by `usecases.apply_plan`, read by `domain.routing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from gyrostat_inference.domain.engine_settings import EngineSettings


class Sensitivity(IntEnum):
    """What may be kept of an input; the numbers are the contract's."""

    PLAIN = 1
    HASH = 2
    BUCKET = 3
    DROP = 4


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as a graph declares it; -1 is dynamic, a leading -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def batched(self) -> bool:
        return bool(self.shape) and self.shape[0] == -1

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether rows of a request are rows of its tensors; else the whole request is one row."""
        return any(spec.batched for spec in self.inputs)


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A file by its content, and where the shared store has it."""

    sha256: str
    size_bytes: int = 0
    uri: str = ""


@dataclass(frozen=True, slots=True)
class PlannedVersion:
    """A version that the plan wants loaded."""

    number: int
    artifact: ArtifactRef
    signature: Signature
    profile: ArtifactRef | None = None
    aliases: tuple[str, ...] = ()
    warm_up: ArtifactRef | None = None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that scores without answering; sample_rate is the share of requests."""

    version: PlannedVersion
    pinned: bool = False
    sample_rate: float = 1.0
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class ServingSpec:
    """The part of the ModelSpec that inference acts on."""

    entity_input: str = ""
    sensitivity: Mapping[str, Sensitivity] = field(default_factory=lambda: MappingProxyType({}))
    log_sample_rate: float = 1.0
    max_rows: int = 4096
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True, slots=True)
class Plan:
    """Complete, at its revision. No champion: the model is retired."""

    environment: str
    model: str
    revision: int
    champion: PlannedVersion | None = None
    canary: PlannedVersion | None = None
    canary_weight: int = 0
    shadows: tuple[Shadow, ...] = ()
    fallback: PlannedVersion | None = None
    rollout_id: str = ""
    spec: ServingSpec = field(default_factory=ServingSpec)

    def versions(self) -> dict[int, PlannedVersion]:
        """Every version to load, by number: who answers first, the others after."""
        wanted = (self.champion, self.canary, self.fallback, *(shadow.version for shadow in self.shadows))
        return {version.number: version for version in reversed(wanted) if version is not None}

    def standing(self, number: int) -> str:
        """What a version is here: "champion", "canary 5 %", "shadow", "fallback"; "" when it is not in the plan."""
        if self.champion is not None and number == self.champion.number:
            return "champion"
        if self.canary is not None and number == self.canary.number:
            return f"canary {self.canary_weight / 100:g} %"
        if any(number == shadow.version.number for shadow in self.shadows):
            return "shadow"
        return "fallback" if self.fallback is not None and number == self.fallback.number else ""

    def live(self) -> str:
        """For messages: `4 (champion), 5 (canary 5 %)`."""
        numbers = sorted(self.versions())
        return ", ".join(f"{number} ({self.standing(number)})" for number in numbers) or "nothing"
