"""The last plan of each model and the artifacts it names, on disk: enough to start with everything else down."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import numpy as np
import structlog

from gyrostat_common.errors import GyrostatError, InvalidInput, Unavailable
from gyrostat_common.profile import Numeric, Profile
from gyrostat_inference.domain.plan import ArtifactRef, Plan
from gyrostat_inference.domain.sensitivity import Bins, levels

log = structlog.get_logger(__name__)
KEY_BYTES = 32


class PlanFiles:
    """A file per model: the ServingPlan as it came."""

    def __init__(self, folder: Path, decode: Callable[[bytes], Plan]) -> None:
        self._folder, self._decode = folder, decode

    def read(self) -> list[tuple[Plan, bytes]]:
        """Every plan that can be read; one that cannot is left out, because the topic has it."""
        return list(self._readable()) if self._folder.exists() else []

    def _readable(self) -> Iterator[tuple[Plan, bytes]]:
        for path in sorted(self._folder.glob("*.plan")):
            raw = path.read_bytes()
            try:
                yield self._decode(raw), raw
            except InvalidInput as error:
                log.warning("cached_plan_unreadable", file=path.name, error=str(error))

    def write(self, plan: Plan, raw: bytes) -> None:
        """Replaces the model's file in one rename. Raises Unavailable; the old file is still whole then."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _replace(self._folder / f"{quote(plan.model, safe='')}.plan", raw)
        except OSError as error:
            raise Unavailable(f"the cache folder cannot be written: {error}") from error


def _replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Whole or not at all, whatever the disk says."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


class Source(Protocol):
    """Somewhere to fetch artifacts from."""

    async def fetch(self, sha256: str, into_folder: Path) -> Path:
        """A file named by the digest, checked. Raises NotFound, InvalidInput (other bytes), Unavailable."""
        ...


class ArtifactFiles:
    """Files by digest; what is not here is asked of the sources in turn."""

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        self._folder, self._sources = folder.absolute(), sources

    async def fetch(self, ref: ArtifactRef) -> Path:
        """Checked at every call, because a damaged file must not be opened. Raises the first source's error."""
        path = self._folder / ref.sha256
        if await asyncio.to_thread(_is, path, ref.sha256):
            return path
        refusals: list[GyrostatError] = []
        for source in self._sources:
            try:
                return await source.fetch(ref.sha256, self._folder)
            except GyrostatError as error:
                refusals.append(error)
        text = "; ".join(dict.fromkeys(str(error) for error in refusals))
        raise type(refusals[0])(f"artifact {ref.sha256[:12]}… cannot be had: {text}")


def _is(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (FileNotFoundError, OSError):
        return False


class ProfileFiles:
    """Bins from reference profiles, and samples."""

    def bins(self, path: Path) -> Mapping[str, Bins]:
        """Of the numeric inputs. Raises ProfileInvalid."""
        profile = Profile.from_json(path.read_bytes())
        numeric = [feature for feature in profile.features if isinstance(feature, Numeric)]
        return {f.name: Bins(f.bins, levels(np.asarray(f.edges, np.float64), f.minimum, f.maximum)) for f in numeric}

    def samples(self, path: Path) -> str:
        """The text, whatever it holds."""
        return path.read_text(errors="replace")


def hash_key(path: Path, shared: str = "") -> bytes:
    """The key of the keyed digests: the site's, for all replicas alike, else one made once and kept readable by the
    owner alone.
    """
    if shared:
        return hashlib.sha256(shared.encode()).digest()
    if path.exists() and len(kept := path.read_bytes()) == KEY_BYTES:  # a disk once full may have left an empty one
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    _replace(path, key, 0o600)
    return key
