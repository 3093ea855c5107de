"""Delta commits on S3: two writers, a lost reply, a writer killed between data and commit. Each row is there once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
from gyrostat_common.storage import StorageUnreachable
from gyrostat_monitor.store.archive import Archive
from support.archive_writer import ROWS, frame
from support.objects import Bucket, ObjectServer, Place, a_gate

TESTS = Path(__file__).resolve().parents[2]


async def assert_once(archive: Archive, frames: int, commits: int | None = None) -> None:
    """Every row of the frames 1 to `frames` once, their number as the stream's mark, in so many commits."""
    await asyncio.to_thread(_assert_once, archive.table_uri("predictions", "flights"), frames, commits)


def _assert_once(uri: str, frames: int, commits: int | None) -> None:
    table = DeltaTable(uri)
    ids = table.to_pyarrow_table(columns=["prediction_id"]).column(0).to_pylist()
    assert len(ids) == len(set(ids)) == frames * ROWS
    assert table.transaction_version("s/flights/0") == frames
    assert commits is None or table.version() == commits  # the first made the table


async def test_two_writers_of_the_same_frames_write_each_once(place: Place) -> None:
    one, other = Archive(f"{place.uri}/archive"), Archive(f"{place.uri}/archive")
    done = await asyncio.gather(*(w.add_frames("flights", [frame(n)]) for n in range(1, 9) for w in (one, other)))
    assert sum(appended.rows for appended in done) == 8 * ROWS
    await assert_once(one, 8)


async def test_a_commit_whose_reply_was_lost_is_not_written_again(
    objects: ObjectServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_gate(objects) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.endpoint)
        archive = Archive(bucket.uri("archive"))
        await archive.add_frames("flights", [frame(1)])
        gate.lose_reply()
        for _ in range(2):  # a consumer comes again with what failed
            try:
                await archive.add_frames("flights", [frame(2)])
                break
            except Unavailable:
                continue
        await archive.add_frames("flights", [frame(3)])
        assert gate.lost == 1
        await assert_once(archive, 3, commits=3)


async def test_a_writer_killed_between_data_and_commit_leaves_nothing_half(
    objects: ObjectServer, bucket: Bucket
) -> None:
    archive = Archive(bucket.uri("archive"))
    await archive.add_frames("flights", [frame(1)])
    async with a_gate(objects) as gate:
        gate.hold()
        environ = {**os.environ, "AWS_ENDPOINT_URL": gate.endpoint, "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "support.archive_writer", archive.uri, "3"]
        writer = await asyncio.create_subprocess_exec(*command, env=environ)
        try:
            async with asyncio.timeout(60):
                await gate.held.wait()
        finally:
            writer.kill()
            await writer.wait()
    files = list((bucket.folder / "archive/predictions/flights").rglob("*.parquet"))
    assert len(files) == 2  # the second frame's data is there, and no commit names it
    await assert_once(archive, 1, commits=1)
    restarted = Archive(archive.uri)
    for number in range(1, 4):
        await restarted.add_frames("flights", [frame(number)])
    await assert_once(restarted, 3, commits=3)


async def test_an_outage_is_said_and_then_made_good(objects: ObjectServer, bucket: Bucket) -> None:
    archive, artifacts = Archive(bucket.uri("archive")), ArtifactStore(bucket.uri("artifacts"))
    await archive.add_frames("flights", [frame(1)])
    artifact = await artifacts.put_bytes(b"model")
    objects.stop()
    try:
        with pytest.raises(StorageUnreachable, match="does not answer at http://127"):
            await archive.add_frames("flights", [frame(2)])
        with pytest.raises(StorageUnreachable):
            await artifacts.get_bytes(artifact.sha256)
    finally:
        objects.start()
    assert await artifacts.get_bytes(artifact.sha256) == b"model"
    assert (await archive.add_frames("flights", [frame(1), frame(2)])).rows == ROWS
    await assert_once(archive, 2, commits=2)
    assert await archive.models("predictions") == ["flights"]
    assert await archive.models("outcomes") == []
