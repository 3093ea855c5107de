"""Loads one version: fetched and checked, tried out in a process of its own, then opened and warm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gyrostat_inference.domain.errors import ModelRefused
from gyrostat_inference.domain.live import LoadedVersion, Scorer
from gyrostat_inference.domain.plan import ArtifactRef, PlannedVersion, Sensitivity, ServingSpec, Signature
from gyrostat_inference.domain.sensitivity import Bins, Keeping


class Artifacts(Protocol):
    """Files by their digest."""

    async def fetch(self, ref: ArtifactRef) -> Path:
        """A local file with exactly these bytes. Raises NotFound, InvalidInput (wrong digest), Unavailable."""
        ...


class Engine(Protocol):
    """The library that runs graphs."""

    async def try_out(self, path: Path, threads: int) -> Signature:
        """Opens and runs the graph once in a process of its own. Raises ModelRefused."""
        ...

    async def open(self, name: str, path: Path, threads: int) -> Scorer:
        """Opens it here and runs it once. Raises ModelRefused."""
        ...


class Profiles(Protocol):
    """Reads reference profiles."""

    def bins(self, path: Path) -> Mapping[str, Bins]:
        """Bins of the numeric inputs. Raises InvalidInput."""
        ...


class LoadVersion:
    """One version at a time, as `usecases.apply_plan` asks."""

    def __init__(self, artifacts: Artifacts, engine: Engine, profiles: Profiles, hash_key: bytes) -> None:
        self._artifacts, self._engine, self._profiles, self._hash_key = artifacts, engine, profiles, hash_key

    async def load(self, model: str, planned: PlannedVersion, spec: ServingSpec) -> LoadedVersion:
        """Raises ModelRefused, NotFound, InvalidInput, Unavailable; then nothing has changed."""
        path = await self._artifacts.fetch(planned.artifact)
        found = await self._engine.try_out(path, spec.intra_op_threads)
        if planned.signature.inputs and found != planned.signature:
            raise ModelRefused(
                f"its graph has other tensors than were registered: {differences(planned.signature, found)}"
            )
        scorer = await self._engine.open(f"{model}:{planned.number}", path, spec.intra_op_threads)
        return LoadedVersion(model, planned, scorer, await self.keeping(planned, spec))

    async def keeping(self, planned: PlannedVersion, spec: ServingSpec) -> Keeping:
        """How its inputs are kept under this spec; the profile is read only where a bucket needs it."""
        bins: Mapping[str, Bins] = {}
        if planned.profile is not None and Sensitivity.BUCKET in spec.sensitivity.values():
            bins = self._profiles.bins(await self._artifacts.fetch(planned.profile))
        return Keeping(spec.sensitivity, bins, self._hash_key)


def differences(wanted: Signature, found: Signature) -> str:
    """The first tensor that differs, in words."""
    pairs = (("input", wanted.inputs, found.inputs), ("output", wanted.outputs, found.outputs))
    for kind, ours, theirs in pairs:
        known = {spec.name: spec for spec in theirs}
        for spec in ours:
            if spec.name not in known:
                return f"{kind} '{spec.name}' is missing"
            if spec != known[spec.name]:
                return f"{kind} '{spec.name}' is {known[spec.name]}, registered as {spec}"
        if len(ours) != len(theirs) or ours != theirs:
            return f"{kind}s are {', '.join(known)}"
    return "nothing"
