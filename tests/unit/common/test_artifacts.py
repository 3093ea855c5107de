"""Files by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gyrostat_common.artifacts import Artifact, ArtifactStore, DigestMismatch
from gyrostat_common.errors import InvalidInput, NotFound

CONTENT = b"model" * 1_000_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def stored_file(artifact: Artifact) -> Path:
    return Path(artifact.uri.removeprefix("file://"))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/artifacts")


async def test_bytes_and_files_are_stored_under_their_digest(store: ArtifactStore, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(CONTENT)
    one, other = await store.put_bytes(CONTENT), await store.put_file(file)
    assert one == other
    assert (one.sha256, one.size) == (SHA256, len(CONTENT))
    assert one.uri == f"file://{tmp_path}/artifacts/sha256/{SHA256[:2]}/{SHA256}"
    assert stored_file(one).read_bytes() == CONTENT


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


async def test_changed_bytes_are_refused_and_leave_nothing_behind(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = await store.put_bytes(CONTENT)
    stored_file(artifact).write_bytes(CONTENT[:-1])
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


async def test_storing_twice_at_once_is_fine(store: ArtifactStore) -> None:
    import asyncio

    stored = await asyncio.gather(*(store.put_bytes(CONTENT) for _ in range(5)))
    assert len(set(stored)) == 1
