"""What is wrong with a store is said in a sentence that names the variable, soon, and never with a secret."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from gyrostat_common import storage
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import InvalidInput, Unavailable
from gyrostat_monitor.store.archive import Archive
from gyrostat_trainer.engine.rows import open_table
from support.objects import PASSWORD, Bucket

SHA256 = "ab" * 32
MISSING = r"the bucket of s3://absent/x\S* does not exist at http://127.*: make it"


async def all_failures(uri: str, tmp_path: Path) -> list[Unavailable]:
    """What each of those says that use the store."""
    artifacts, archive = ArtifactStore(uri), Archive(uri)
    tries = [
        artifacts.put_bytes(b"model"),
        artifacts.get_bytes(SHA256),
        artifacts.fetch(SHA256, tmp_path),
        archive.last("outcomes", "flights", "resolved"),
        archive.models("predictions"),
        archive.rows("predictions", "flights", "id/0"),
        asyncio.to_thread(open_table, f"{uri}/datasets/history"),
    ]
    done = await asyncio.gather(*tries, return_exceptions=True)
    failures = [one for one in done if isinstance(one, Unavailable)]
    assert len(failures) == len(tries)
    return failures


async def test_a_missing_bucket_is_not_taken_for_a_missing_file(bucket: Bucket, tmp_path: Path) -> None:
    for error in await all_failures("s3://absent/x", tmp_path):
        assert isinstance(error, storage.BucketMissing)
        assert re.search(MISSING, str(error))


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "not-it"), ("AWS_ACCESS_KEY_ID", "nobody")])
async def test_wrong_credentials_are_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for error in await all_failures(bucket.uri("x"), tmp_path):
        assert isinstance(error, storage.StorageDenied)
        assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(error)
        assert bucket.uri("x") in str(error)
        assert not {"AWS4-HMAC", PASSWORD, "not-it"} & set(str(error).split())
        assert "StringToSign" not in str(error)
        assert len(str(error)) < 300
    with pytest.raises(storage.StorageDenied, match=r"\((SignatureDoesNotMatch|InvalidAccessKeyId)\)"):
        await ArtifactStore(bucket.uri("x")).get_bytes(SHA256)


async def test_nobody_at_the_endpoint_is_said_within_seconds(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    for error in await all_failures(bucket.uri("x"), tmp_path):
        assert isinstance(error, storage.StorageUnreachable)
        assert "does not answer at http://127.0.0.1:1" in str(error)
        assert "check AWS_ENDPOINT_URL" in str(error)
    assert time.monotonic() - began < storage.RETRY_S


async def test_plain_http_is_asked_for_by_name(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    for error in await all_failures(bucket.uri("x"), tmp_path):
        assert isinstance(error, storage.StorageUnreachable)
        assert "set AWS_ALLOW_HTTP=true if that is meant" in str(error)


@pytest.mark.parametrize("uri", ["s4://bucket/x", "s3:bucket", "s3://"])
def test_what_is_no_address_is_refused_before_anything_is_asked(uri: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a store's address"):
        ArtifactStore(uri)
