"""Inference fetches its models from S3: once, with the credentials of its environment; wrong ones are named."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gyrostat_common.settings import KafkaSettings
from support.graphs import a_plan, a_scorer
from support.inference import Place, a_service, until
from support.objects import Bucket, ObjectServer

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
ROWS = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}
NAMES = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


async def test_a_model_is_fetched_from_s3_and_kept_for_a_start_without_it(
    fresh_kafka: KafkaSettings, objects: ObjectServer, bucket: Bucket, tmp_path: Path
):
    place = Place(tmp_path, fresh_kafka, options={"artifacts_uri": bucket.uri("artifacts")})
    await place.store(FLIGHTS)
    assert (bucket.folder / "artifacts/sha256" / FLIGHTS.sha256[:2] / FLIGHTS.sha256).is_file()
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
        assert (await caller.infer("flights", ROWS)).model_version == "1"
    objects.stop()
    try:
        async with a_service(place) as caller:
            await until(lambda: caller.serves("flights", 1))
            assert (await caller.infer("flights", ROWS)).model_version == "1"
    finally:
        objects.start()


async def test_wrong_credentials_stand_in_the_heartbeat_and_in_readiness(
    fresh_kafka: KafkaSettings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = Place(tmp_path, fresh_kafka, options={"artifacts_uri": bucket.uri("artifacts")})
    await place.store(FLIGHTS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-it")
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
        beat = await caller.heartbeat(lambda b: any(v.version == 1 for v in b.versions))
        (version,) = beat.versions
        assert not version.loaded
        assert NAMES in version.reason
        assert "not-it" not in version.reason
        assert NAMES in await until(lambda: asyncio.to_thread(readiness, place))


def readiness(place: Place) -> str:
    """Why the service is not ready, when that has to do with the store."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{place.metrics_port}/readyz", timeout=5)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return text if "AWS" in text else ""
    return ""
