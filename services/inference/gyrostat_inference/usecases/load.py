"""Loads one version: fetched and checked, tried out in a process of its own, then opened and warm."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from gyrostat_inference.domain.batching import Trial
from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.domain.live import LoadedVersion, Scorer
from gyrostat_inference.domain.plan import ArtifactRef, PlannedVersion, Sensitivity, ServingSpec, Signature, TensorSpec
from gyrostat_inference.domain.sensitivity import Bins, Keeping


class Artifacts(Protocol):
    """Files by their digest."""

    async def fetch(self, ref: ArtifactRef) -> Path:
        """A local file with exactly these bytes. Raises NotFound, InvalidInput (wrong digest), Unavailable."""
        ...


class Engine(Protocol):
    """The library that runs graphs."""

    async def try_out(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial:
        """Opens, warms and tries the graph in a process of its own. Raises ModelRefused."""
        ...

    async def open(self, name: str, path: Path, opening: Opening, warm_up: WarmUp) -> Scorer:
        """Opens and warms it here. Raises ModelRefused."""
        ...


class Profiles(Protocol):
    """Reads what was registered beside a graph."""

    def bins(self, path: Path) -> Mapping[str, Bins]:
        """Bins of the numeric inputs. Raises InvalidInput."""
        ...

    def samples(self, path: Path) -> str:
        """The text of a file of samples, whatever it holds."""
        ...


class LoadVersion:
    """One version at a time, as `usecases.apply_plan` asks."""

    def __init__(self, artifacts: Artifacts, engine: Engine, profiles: Profiles, hash_key: bytes) -> None:
        self._artifacts, self._engine, self._profiles, self._hash_key = artifacts, engine, profiles, hash_key

    async def load(self, model: str, planned: PlannedVersion, spec: ServingSpec) -> LoadedVersion:
        """Raises ModelRefused, NotFound, InvalidInput, Unavailable; then nothing has changed."""
        path = await self._artifacts.fetch(planned.artifact)
        opening, warm_up = spec.engine.opening, await self._warm_up(planned, spec)
        trial = await self._engine.try_out(path, opening, warm_up)
        other = differences(planned.signature, trial.signature) if planned.signature.inputs else ""
        if other:
            raise ModelRefused(f"its graph has other tensors than were registered: {other}")
        scorer = await self._engine.open(f"{model}:{planned.number}", path, opening, warm_up)
        return LoadedVersion(model, planned, scorer, await self.keeping(planned, spec), trial.alone)

    async def _warm_up(self, planned: PlannedVersion, spec: ServingSpec) -> WarmUp:
        """With the samples that were registered with the version, else the spec's."""
        if planned.warm_up is None:
            return spec.engine.warm_up
        samples = self._profiles.samples(await self._artifacts.fetch(planned.warm_up))
        return replace(spec.engine.warm_up, samples_json=samples)

    async def keeping(self, planned: PlannedVersion, spec: ServingSpec) -> Keeping:
        """How its inputs are kept under this spec; the profile is read only where a bucket needs it."""
        bins: Mapping[str, Bins] = {}
        if planned.profile is not None and Sensitivity.BUCKET in spec.sensitivity.values():
            bins = self._profiles.bins(await self._artifacts.fetch(planned.profile))
        return Keeping(spec.sensitivity, bins, self._hash_key)


def differences(wanted: Signature, found: Signature) -> str:
    """The first tensor that differs, in words; "" when none does.

    Names and datatypes must agree, and dimensions where both sides fix them: how far shapes are inferred through a
    graph depends on who looks at it. What requests are checked against is the graph's own signature.
    """
    for kind, ours, theirs in (("input", wanted.inputs, found.inputs), ("output", wanted.outputs, found.outputs)):
        known = {spec.name: spec for spec in theirs}
        for spec in ours:
            if spec.name not in known:
                return f"{kind} '{spec.name}' is missing"
            if not _agree(spec, known.pop(spec.name)):
                return f"{kind} '{spec.name}' is {_found(spec.name, theirs)}, registered as {spec}"
        if known:
            return f"{kind} '{next(iter(known))}' was not registered"
    return ""


def _agree(ours: TensorSpec, theirs: TensorSpec) -> bool:
    if ours.datatype != theirs.datatype:
        return False
    if not ours.shape or not theirs.shape:  # nobody said, or nobody knows
        return True
    sizes = zip(ours.shape, theirs.shape, strict=False)
    return len(ours.shape) == len(theirs.shape) and all(a == b or -1 in (a, b) for a, b in sizes)


def _found(name: str, specs: Iterable[TensorSpec]) -> TensorSpec:
    return next(spec for spec in specs if spec.name == name)
