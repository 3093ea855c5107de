"""Artifacts by content: takes streams in under a limit, hands them out, lends them as files."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
from gyrostat_registry.domain.errors import BadArtifact
from gyrostat_registry.domain.version import Artifact


class Blobs:
    """The artifact store, with a limit on the size of one upload."""

    def __init__(self, artifacts: ArtifactStore, folder: Path, largest_bytes: int) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._largest_bytes = largest_bytes
        folder.mkdir(parents=True, exist_ok=True)

    async def take(self, chunks: AsyncIterator[bytes], sha256: str, size_bytes: int) -> Artifact:
        """Stores a stream under its digest. BadArtifact when it is empty, too large, or not what was announced (an
        empty `sha256` and a `size_bytes` of 0 announce nothing), Unavailable when the disk is full; nothing is kept
        then.
        """
        if size_bytes > self._largest_bytes:
            raise BadArtifact(f"an artifact of {size_bytes} bytes is too large; at most {self._largest_bytes}")
        digest, size = hashlib.sha256(), 0
        with _disk_errors(self._folder), tempfile.NamedTemporaryFile(dir=self._folder, prefix="upload-") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._largest_bytes:
                    raise BadArtifact(f"the artifact is larger than {self._largest_bytes} bytes")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            _check(digest.hexdigest(), size, sha256, size_bytes)
            stored = await self._artifacts.put_file(Path(file.name))
        return Artifact(stored.sha256, stored.size, stored.uri)

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes in pieces of up to 1 MiB."""
        async for piece in self._artifacts.open_stream(sha256):
            for start in range(0, len(piece), 1 << 20):
                yield piece[start : start + (1 << 20)]

    @asynccontextmanager
    async def file(self, sha256: str) -> AsyncIterator[Path]:
        """The artifact as a file of its own, gone when the block ends."""
        with ExitStack() as stack:
            with _disk_errors(self._folder):
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder, prefix="read-"))
            yield await self._artifacts.fetch(sha256, Path(folder))


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """A full disk in our words."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror or error}") from error


def _check(digest: str, size: int, announced: str, announced_size: int) -> None:
    if not size:
        raise BadArtifact("the artifact is empty")
    if announced_size and announced_size != size:
        raise BadArtifact(f"{announced_size} bytes were announced, {size} came: the upload was cut short")
    if announced and announced != digest:
        raise BadArtifact(f"sha256 {announced} was announced, the bytes have {digest}")
