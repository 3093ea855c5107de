"""Artifacts that the store does not have come from the registry, checked; damaged ones never arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gyrostat.registry.v1 import registry_pb2, registry_pb2_grpc
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import InvalidInput, NotFound, Unavailable
from gyrostat_inference.clients import RegistryArtifacts, WrongDigest
from gyrostat_inference.domain.plan import ArtifactRef
from gyrostat_inference.store.cache import ArtifactFiles
from support.graphs import an_echo

ECHO = an_echo("FP32")


class FakeRegistry(registry_pb2_grpc.RegistryServiceServicer):
    """Has one artifact under any name it is given."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self._held, self.asked = held, 0

    async def DownloadArtifact(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked += 1
        raw = self._held.get(request.sha256)
        if raw is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such artifact")
        for start in range(0, len(raw or b""), 100):
            yield registry_pb2.DownloadArtifactResponse(chunk=(raw or b"")[start : start + 100])


@asynccontextmanager
async def a_registry(held: dict[str, bytes]) -> AsyncIterator[tuple[FakeRegistry, str]]:
    server, registry = grpc.aio.server(), FakeRegistry(held)
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield registry, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_the_registry_is_asked_once_for_what_the_store_lacks(tmp_path: Path):
    async with a_registry({ECHO.sha256: ECHO.raw}) as (registry, address):
        sources = [ArtifactStore(f"file://{tmp_path}/store"), RegistryArtifacts(address)]
        files = ArtifactFiles(tmp_path / "cache", sources)
        for _ in range(2):
            path = await files.fetch(ArtifactRef(ECHO.sha256))
            assert path.read_bytes() == ECHO.raw
        assert registry.asked == 1
        path.write_bytes(b"damaged")
        assert (await files.fetch(ArtifactRef(ECHO.sha256))).read_bytes() == ECHO.raw
        assert registry.asked == 2


async def test_other_bytes_than_the_digest_names_leave_no_file(tmp_path: Path):
    async with a_registry({ECHO.sha256: b"something else"}) as (_, address):
        with pytest.raises(WrongDigest):
            await RegistryArtifacts(address).fetch(ECHO.sha256, tmp_path)
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240


async def test_the_reason_names_every_source(tmp_path: Path):
    async with a_registry({}) as (_, address):
        files = ArtifactFiles(tmp_path / "c", [ArtifactStore(f"file://{tmp_path}/s"), RegistryArtifacts(address)])
        with pytest.raises(NotFound, match=r"cannot be had: no artifact .* is stored; no such artifact"):
            await files.fetch(ArtifactRef("0" * 64))
    gone = ArtifactFiles(tmp_path / "c", [RegistryArtifacts(address)])
    with pytest.raises(Unavailable):
        await gone.fetch(ArtifactRef("0" * 64))
    with pytest.raises(InvalidInput):
        await ArtifactFiles(tmp_path / "c", [ArtifactStore(f"file://{tmp_path}/s")]).fetch(ArtifactRef("../x"))
