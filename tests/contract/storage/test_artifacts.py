"""Files by their content: one suite on a folder and on S3."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gyrostat_common.artifacts import Artifact, ArtifactStore, DigestMismatch
from gyrostat_common.errors import InvalidInput, NotFound, Unavailable
from gyrostat_registry.domain.errors import BadArtifact
from gyrostat_registry.store.blobs import Blobs

CONTENT = b"model" * 1_000_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def stored_file(place, artifact: Artifact) -> Path:
    return place.folder / "artifacts" / artifact.uri.partition("/artifacts/")[2]


@pytest.fixture
def store(place) -> ArtifactStore:
    return ArtifactStore(f"{place.uri}/artifacts")


async def test_bytes_and_files_are_stored_under_their_digest(place, store: ArtifactStore, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(CONTENT)
    one, other = await store.put_bytes(CONTENT), await store.put_file(file)
    assert one == other
    assert (one.sha256, one.size) == (SHA256, len(CONTENT))
    assert one.uri == f"{place.uri}/artifacts/sha256/{SHA256[:2]}/{SHA256}"
    assert stored_file(place, one).read_bytes() == CONTENT


async def test_what_is_fetched_is_what_was_stored(store: ArtifactStore, tmp_path: Path) -> None:
    await store.put_bytes(CONTENT)
    path = await store.fetch(SHA256, tmp_path / "cache")
    assert path == tmp_path / "cache" / SHA256
    assert path.read_bytes() == CONTENT
    assert await store.get_bytes(SHA256) == CONTENT
    assert b"".join([piece async for piece in store.open_stream(SHA256)]) == CONTENT


async def test_a_fetched_file_is_used_again_unless_it_is_broken(store: ArtifactStore, tmp_path: Path) -> None:
    await store.put_bytes(CONTENT)
    path = await store.fetch(SHA256, tmp_path)
    born = path.stat().st_ino
    assert (await store.fetch(SHA256, tmp_path)).stat().st_ino == born
    path.write_bytes(b"broken")
    assert (await store.fetch(SHA256, tmp_path)).read_bytes() == CONTENT


async def test_changed_bytes_are_refused_and_leave_nothing_behind(place, store: ArtifactStore, tmp_path: Path) -> None:
    artifact = await store.put_bytes(CONTENT)
    stored_file(place, artifact).write_bytes(CONTENT[:-1])
    with pytest.raises(DigestMismatch, match=SHA256):
        await store.fetch(SHA256, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


async def test_an_artifact_that_is_not_there_is_not_found(store: ArtifactStore, tmp_path: Path) -> None:
    absent = "0" * 64
    assert not await store.has(absent)
    with pytest.raises(NotFound, match=absent):
        await store.fetch(absent, tmp_path / "cache")
    with pytest.raises(NotFound):
        await store.get_bytes(absent)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "/x", "0" * 63 + "\n"])
async def test_only_a_digest_names_an_artifact(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="sha256"):
        await store.fetch(name, tmp_path)
    with pytest.raises(InvalidInput, match="sha256"):
        await store.has(name)


async def test_storing_twice_at_once_is_fine(place, store: ArtifactStore) -> None:
    others = [store, ArtifactStore(store.uri)]
    stored = await asyncio.gather(*(others[i % 2].put_bytes(CONTENT) for i in range(6)))
    assert len(set(stored)) == 1
    assert [path for path in place.folder.rglob("*") if path.is_file()] == [stored_file(place, stored[0])]


async def in_pieces(content: bytes, size: int = 700_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_an_upload_comes_as_a_stream_and_goes_as_one(store: ArtifactStore, tmp_path: Path) -> None:
    blobs = Blobs(store, tmp_path / "uploads", largest_bytes=len(CONTENT))
    taken = await blobs.take(in_pieces(CONTENT), SHA256, len(CONTENT))
    assert (taken.sha256, taken.size_bytes) == (SHA256, len(CONTENT))
    pieces = [piece async for piece in blobs.stream(SHA256)]
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 1 << 20
    async with blobs.file(SHA256) as path:
        assert path.read_bytes() == CONTENT


async def test_a_refused_upload_leaves_nothing_in_the_store(place, store: ArtifactStore, tmp_path: Path) -> None:
    blobs = Blobs(store, tmp_path / "uploads", largest_bytes=len(CONTENT) - 1)
    with pytest.raises(BadArtifact, match="larger than"):
        await blobs.take(in_pieces(CONTENT), "", 0)
    with pytest.raises(BadArtifact, match="was announced, the bytes have"):
        await blobs.take(in_pieces(CONTENT[:-1]), SHA256, 0)
    with pytest.raises(BadArtifact, match="cut short"):
        await blobs.take(in_pieces(CONTENT[:-2]), "", len(CONTENT) - 1)
    assert not [path for path in place.folder.rglob("*") if path.is_file()]
    assert not list((tmp_path / "uploads").iterdir())


async def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "sha256").write_text("in the way")
    with pytest.raises(Unavailable, match=r"store cannot be used"):
        await ArtifactStore(f"file://{tmp_path}/store").put_bytes(CONTENT)
