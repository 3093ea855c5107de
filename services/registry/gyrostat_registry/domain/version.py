"""Models, versions, artifacts, signatures, and the stage of a version as a view."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gyrostat_registry.domain.errors import SignatureMismatch


@dataclass(frozen=True)
class Artifact:
    """A file named by its content: `sha256` is lower-case hex, `uri` is where a reader of the shared store finds it."""

    sha256: str
    size_bytes: int
    uri: str
    name: str = ""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a dimension of -1 is dynamic, a leading -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the graph's order."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing declared."""
        return not self.inputs and not self.outputs


@dataclass(frozen=True)
class GateResult:
    """What was measured at one gate, and what was decided on it."""

    gate: str
    numbers: dict[str, float] = field(default_factory=dict)
    passed: bool = False
    reason: str = ""
    not_measured: str = ""


@dataclass(frozen=True)
class Version:
    """One immutable, numbered artifact of a model with its evidence; only `archived` ever changes."""

    model: str
    number: int
    artifact: Artifact
    signature: Signature
    created_at: datetime
    created_by: str
    profile: Artifact | None = None
    run_id: str = ""
    gates: tuple[GateResult, ...] = ()
    cause: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    parent: int = 0
    event_time: datetime | None = None
    archived: bool = False
    warm_up: Artifact | None = None

    @property
    def rejected(self) -> bool:
        """A gate refused it."""
        return any(not gate.passed for gate in self.gates)


class Stage(StrEnum):
    """Where a version stands; never set by hand."""

    CANDIDATE = "candidate"
    REJECTED = "rejected"
    SHADOW = "shadow"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Standing:
    """What plans and history say of a version: the facts that its stage is a view of."""

    champion_in: tuple[str, ...] = ()
    canary_in: tuple[str, ...] = ()
    shadow_in: tuple[str, ...] = ()
    was_champion: bool = False
    rolled_back: str = ""


def stage_of(version: Version, standing: Standing) -> tuple[Stage, str]:
    """The stage and why, in plain words. Being live in any environment wins over everything but being archived."""
    if version.archived:
        return Stage.ARCHIVED, "put away; cannot be promoted"
    for stage, places in (
        (Stage.CHAMPION, standing.champion_in),
        (Stage.CANARY, standing.canary_in),
        (Stage.SHADOW, standing.shadow_in),
    ):
        if places:
            return stage, f"{stage} in {', '.join(places)}"
    if standing.rolled_back:
        return Stage.RETIRED, standing.rolled_back
    if standing.was_champion:
        return Stage.RETIRED, "was champion once"
    refused = [gate for gate in version.gates if not gate.passed]
    if refused:
        return Stage.REJECTED, "; ".join(f"{gate.gate}: {gate.reason}" for gate in refused)
    return Stage.CANDIDATE, "all gates passed" if version.gates else "registered without gate numbers"


@dataclass(frozen=True)
class Model:
    """A named prediction problem. `spec_revision` is the revision of the spec in force."""

    name: str
    created_at: datetime
    created_by: str
    latest_version: int = 0


def refusals(candidate: Signature, champion: Signature) -> tuple[str, ...]:
    """What callers of the champion would meet if the candidate answered instead: each a sentence, none when nothing.

    An input may be taken wider than before, never narrower; an output has the same form where both fix it.
    """
    said = []
    for what, want, have in (
        ("input", champion.inputs, candidate.inputs),
        ("output", champion.outputs, candidate.outputs),
    ):
        tensors = {tensor.name: tensor for tensor in have}
        for tensor in want:
            mine = tensors.get(tensor.name)
            if mine is None:
                said.append(f"{what} {_form(tensor)} of the champion is not there")
            elif not _fits(mine, tensor, dynamic_fits=what == "output"):
                said.append(f"{what} {_form(tensor)} of the champion is {mine.datatype} {list(mine.shape)} here")
    sent = {tensor.name for tensor in champion.inputs}
    said += [
        f"input {_form(one)} is not among the champion's, callers do not send it"
        for one in candidate.inputs
        if one.name not in sent
    ]
    return tuple(said)


def _form(tensor: TensorSpec) -> str:
    return f"{tensor.name!r} {tensor.datatype} {list(tensor.shape)}"


def _fits(mine: TensorSpec, theirs: TensorSpec, *, dynamic_fits: bool) -> bool:
    return (
        mine.datatype == theirs.datatype
        and len(mine.shape) == len(theirs.shape)
        and all(a in (-1, b) or (dynamic_fits and b == -1) for a, b in zip(mine.shape, theirs.shape, strict=True))
    )


def check_declared(declared: Signature, graph: Signature) -> None:
    """SignatureMismatch unless the graph has exactly the declared tensors; a declared -1 matches any dimension."""
    for what, want, have in (("input", declared.inputs, graph.inputs), ("output", declared.outputs, graph.outputs)):
        if not want:
            continue
        tensors = {tensor.name: tensor for tensor in have}
        if {tensor.name for tensor in want} != set(tensors):
            raise SignatureMismatch(
                f"declared {what}s {[tensor.name for tensor in want][:40]}, the graph has {list(tensors)[:40]}"
            )
        for tensor in want:
            _check_tensor(what, tensor, tensors[tensor.name])


def _check_tensor(what: str, want: TensorSpec, have: TensorSpec) -> None:
    if want.datatype != have.datatype:
        raise SignatureMismatch(f"{what} {want.name!r}: declared {want.datatype}, the graph has {have.datatype}")
    fits = len(want.shape) == len(have.shape) and all(
        a in (b, -1) or b == -1 for a, b in zip(want.shape, have.shape, strict=True)
    )
    if want.shape and not fits:
        raise SignatureMismatch(f"{what} {want.name!r}: declared {list(want.shape)}, the graph has {list(have.shape)}")
