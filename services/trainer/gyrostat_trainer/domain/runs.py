"""A training run and the steps of its journal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from gyrostat_trainer.domain.spec import TrainingSpec

QUEUED, RUNNING, SUCCEEDED, REJECTED, FAILED, CANCELLED = (
    "queued",
    "running",
    "succeeded",
    "rejected",
    "failed",
    "cancelled",
)
OPEN = frozenset({QUEUED, RUNNING})

# In this order; a step that is in the journal is never done again. The value is the fraction done when it ends.
STEPS = {
    "announce": 0.02,
    "snapshot": 0.15,
    "fit": 0.45,
    "refit": 0.75,
    "evaluate": 0.9,
    "upload": 0.95,
    "register": 1.0,
}
# Stage names of the contract.
STAGES = {
    "announce": "snapshot",
    "snapshot": "snapshot",
    "fit": "fit",
    "refit": "fit",
    "evaluate": "evaluate",
    "upload": "register",
    "register": "register",
}


@dataclass(frozen=True)
class Gate:
    """Numbers measured at one gate; the registry decides whether they pass."""

    gate: str
    numbers: dict[str, float]
    passed: bool = False
    reason: str = ""
    not_measured: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The exact rows of a run: where they came from and what their canonical bytes hash to."""

    tables: dict[str, int]
    filter: str
    sha256: str
    rows: int
    from_us: int
    to_us: int
    frames: dict[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    copy_sha256: str = ""
    copy_bytes: int = 0
    copy_uri: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a run is, in the contract's stages."""

    fraction: float = 0.0
    stage: str = "queued"
    eta_s: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Run:
    """Everything the ledger keeps of a run. `cause` is unique over all runs; times end in their unit and clock."""

    id: str
    model: str
    environment: str
    cause: str
    causes: tuple[str, ...]
    correlation_id: str
    spec: TrainingSpec
    created_by: str
    created_at_us: int
    causation_id: str = ""
    traceparent: str = ""
    reason: str = ""
    parameters_json: str = ""
    watermark_us: int | None = None
    until_us: int | None = None
    hold: bool = False
    status: str = QUEUED
    started_at_us: int | None = None
    ended_at_us: int | None = None
    version: int = 0
    error: str = ""
    cancel_reason: str = ""
    cancelled_by: str = ""
    snapshot: Snapshot | None = None
    gates: tuple[Gate, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    code_digest: str = ""
    environment_digest: str = ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def trained_at_us(self) -> int | None:
        """Event time of the training, from which the cool-down counts."""
        if self.watermark_us is not None:
            return self.watermark_us
        if self.until_us is not None:
            return self.until_us
        return self.snapshot.to_us if self.snapshot else None

    def joined(self, cause: str) -> Run:
        """This run with one more cause."""
        return self if cause in self.causes else replace(self, causes=(*self.causes, cause))

    def changed(self, **fields: Any) -> Run:
        """This run with other fields."""
        return replace(self, **fields)


@dataclass(frozen=True)
class Decision:
    """What was decided about a cause."""

    cause: str
    model: str
    environment: str
    action: str
    reason: str
    watermark_us: int | None
    at_us: int
    run_id: str = ""
    event_id: str = ""
    number: int = 0


@dataclass(frozen=True)
class ServingFacts:
    """What the trainer needs of a serving plan."""

    environment: str
    model: str
    champion: int
    rollout_open: bool
    spec: TrainingSpec


@dataclass(frozen=True)
class DatasetFacts:
    """An imported dataset at its newest version."""

    name: str
    delta_version: int
    rows: int
    uri: str
    updated_at_us: int


@dataclass(frozen=True)
class Champion:
    """The version that answers, as the registry has it."""

    number: int
    artifact_sha256: str
    # Event time of the newest row it was fitted on, in microseconds; None when nobody said.
    trained_until_us: int | None
    # What its callers send and read, as JSON: inputs and outputs with name, datatype and shape.
    signature_json: str = ""


@dataclass(frozen=True)
class Registered:
    """What the registry made of a candidate."""

    number: int
    passed: bool
    reason: str
    gates: tuple[Gate, ...]
