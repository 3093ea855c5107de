"""A full disk under artifacts: said in words, nothing half is left, and the next try works."""

from __future__ import annotations

from pathlib import Path

from support.full_disk import in_child

FETCH = """
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
async def main():
    store = ArtifactStore(f"file://{folder}/store")
    kept = await store.put_bytes(b"x" * 5000)
    with full(1000):
        for attempt in (store.put_bytes(b"y" * 5000), store.fetch(kept.sha256, folder / "cache")):
            try:
                await attempt
                sys.exit("it went through")
            except Unavailable as error:
                assert "cannot be" in str(error), error
    assert list((folder / "cache").iterdir()) == []
    again = await store.put_bytes(b"y" * 5000)
    assert await store.get_bytes(again.sha256) == b"y" * 5000
    assert (await store.fetch(kept.sha256, folder / "cache")).read_bytes() == b"x" * 5000
asyncio.run(main())
"""


def test_an_artifact_is_stored_and_fetched_whole_or_not_at_all(tmp_path: Path) -> None:
    in_child(FETCH, tmp_path)


UPLOAD = """
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
from gyrostat_registry.store.blobs import Blobs
async def chunks():
    for _ in range(50):
        yield b"z" * 1000
async def main():
    blobs = Blobs(ArtifactStore(f"file://{folder}/store"), folder / "work", 10**6)
    with full(20_000):
        try:
            await blobs.take(chunks(), "", 0)
            sys.exit("it went through")
        except Unavailable as error:
            assert str(error) == f"{folder}/work cannot be written: File too large", error
    assert list((folder / "work").iterdir()) == []
    assert (await blobs.take(chunks(), "", 0)).size_bytes == 50_000
asyncio.run(main())
"""


def test_an_upload_that_finds_no_room_is_refused_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    in_child(UPLOAD, tmp_path)
