"""Files by their content: stored under their sha256, verified when fetched, on a local folder or an object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from obstore import get_async, head_async, put_async
from obstore.exceptions import BaseError

from gyrostat_common import storage
from gyrostat_common.errors import InvalidInput, NotFound, Unavailable
from gyrostat_common.ids import uuid7

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 1024 * 1024


class DigestMismatch(InvalidInput):
    """The bytes are not those that the digest names."""


@dataclass(frozen=True)
class Artifact:
    """A stored file."""

    sha256: str
    size: int
    uri: str


class ArtifactStore:
    """Content-addressed: `<uri>/sha256/ab/abcd…`. Nothing is ever overwritten with other bytes."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._store = storage.opened(self.uri)

    def uri_of(self, sha256: str) -> str:
        return f"{self.uri}/{_path(sha256)}"

    async def put_bytes(self, content: bytes) -> Artifact:
        """Stores; at once when it is there already."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if not await self.has(sha256):
            await self._put(sha256, content)
        return Artifact(sha256, len(content), self.uri_of(sha256))

    async def put_file(self, path: Path) -> Artifact:
        """Stores a file that does not change meanwhile."""
        sha256, size = await asyncio.to_thread(_digest, path)
        if not await self.has(sha256):
            await self._put(sha256, path)
        return Artifact(sha256, size, self.uri_of(sha256))

    async def _put(self, sha256: str, content: bytes | Path) -> None:
        try:
            await put_async(self._store, _path(sha256), content)
        except (BaseError, OSError) as error:
            raise storage.explained(error, self.uri) from error

    async def has(self, sha256: str) -> bool:
        try:
            await head_async(self._store, _path(sha256))
        except FileNotFoundError:  # of an object store also: no bucket; the first put or get tells them apart
            return False
        except (BaseError, OSError) as error:
            raise storage.explained(error, self.uri) from error
        return True

    async def open_stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises NotFound at the first, DigestMismatch after the last."""
        digest = hashlib.sha256()
        with _store_errors(sha256, self.uri):
            result = await get_async(self._store, _path(sha256))
            async for piece in result.stream(min_chunk_size=_PIECE):
                content = bytes(piece)
                digest.update(content)
                yield content
        if digest.hexdigest() != sha256:
            raise DigestMismatch(f"the bytes stored as {sha256} have digest {digest.hexdigest()}")

    async def get_bytes(self, sha256: str) -> bytes:
        """All of it, verified."""
        return b"".join([piece async for piece in self.open_stream(sha256)])

    async def fetch(self, sha256: str, into_folder: Path) -> Path:
        """`<into_folder>/<sha256>`, verified; a file that is there is verified and kept. Complete or absent, never
        half."""
        target = into_folder / _checked(sha256)
        if target.exists() and (await asyncio.to_thread(_digest, target))[0] == sha256:
            return target
        await asyncio.to_thread(into_folder.mkdir, parents=True, exist_ok=True)
        partial = into_folder / f".{sha256}.{uuid7()}.partial"
        try:
            with partial.open("wb") as file:
                async for piece in self.open_stream(sha256):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            raise Unavailable(f"{into_folder} cannot be written: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return target


class _store_errors:  # noqa: N801 - reads as a block
    """Errors of the object store in our words."""

    def __init__(self, sha256: str, uri: str) -> None:
        self._sha256, self._uri = sha256, uri

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError) and not storage.is_missing_bucket(error):
            raise NotFound(f"no artifact {self._sha256} is stored") from error
        if isinstance(error, BaseError | OSError):
            raise storage.explained(error, self._uri) from error


def _checked(sha256: str) -> str:
    """A digest and nothing else, so that no path can be built from it."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is not a sha256 in lower-case hexadecimal")
    return sha256


def _path(sha256: str) -> str:
    return f"sha256/{_checked(sha256)[:2]}/{sha256}"


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
