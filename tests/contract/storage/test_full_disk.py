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


ARCHIVE = """
import numpy as np
from deltalake import DeltaTable
from gyrostat_common.errors import Unavailable
from gyrostat_monitor.events import decoding
from gyrostat_monitor.store.archive import Archive
from support.frames import a_frame, prediction_id
def frame(no):
    ids = [prediction_id(no * 100 + row) for row in range(20)]
    times = [1_362_096_000_000_000] * 20
    return decoding.frame(a_frame(no, ids, times, [0.5] * 20, {"temp": np.arange(20, dtype=np.float32)}))
async def main():
    archive, refused, taken = Archive(f"file://{folder}/archive"), 0, 0
    for no, limit in enumerate([100, 900, 1500, 2500, 4000, 6000, 8000, 12_000, 20_000], start=1):
        try:
            with full(limit):
                await archive.add_frames("flights", [frame(no)])
            taken += 1
        except Unavailable as error:
            assert "cannot be used" in str(error), error
            refused += 1
        await archive.add_frames("flights", [frame(no)])
        ids = DeltaTable(archive.table_uri("predictions", "flights")).to_pyarrow_table()["prediction_id"].to_pylist()
        assert (len(ids), len(set(ids))) == (no * 20, no * 20), (no, len(ids))
    assert refused >= 2 and taken >= 1, (refused, taken)
asyncio.run(main())
"""


def test_the_archive_says_so_and_holds_every_row_once_when_there_is_room_again(tmp_path: Path) -> None:
    in_child(ARCHIVE, tmp_path)


DATABASE = """
from sqlalchemy import func, select
from gyrostat_common import database, marks
from gyrostat_common.errors import Unavailable
from gyrostat_common.tables import marks as marks_table
async def main():
    async with database.open(f"sqlite+aiosqlite:///{folder}/test.db") as db:
        refused, kept = 0, 0
        size = max(path.stat().st_size for path in folder.iterdir())
        for number in range(60):
            try:
                with full(size + 500 * number):
                    async with db.transaction() as tx:
                        await marks.advance(tx, "test", {f"{number}-{each}-" + "x" * 400: 1 for each in range(20)})
                kept += 20
            except Unavailable as error:
                assert "disk" in str(error), error
                refused += 1
            async with db.reading() as tx:
                assert await tx.scalar(select(func.count()).select_from(marks_table)) == kept
        assert refused
        async with db.transaction() as tx:
            await marks.advance(tx, "test", {"afterwards": 1})
asyncio.run(main())
"""


def test_a_database_without_room_is_unavailable_whole_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    in_child(DATABASE, tmp_path)
