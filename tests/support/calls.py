"""A registry that answers what the test gave it, and a client's stub that asks it over a UNIX socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1 import registry_pb2_grpc as stubs
from gyrostat_common import rpc, telemetry

NAME = "gyrostat.registry.v1.RegistryService"


class Registry(stubs.RegistryServiceServicer):
    """Answers what the test gave it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.errors: list[BaseException] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.seen: dict[str, Any] = {}

    async def _called(self, request: Any, context: Any) -> None:
        self.calls.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.seen = {
            "actor": rpc.actor(),
            "left": rpc.remaining_s(),
            "traceparent": telemetry.current_traceparent(),
        }
        await self.hold.wait()
        if self.errors:
            raise self.errors.pop(0)

    async def GetModel(self, request: Any, context: Any) -> Any:
        await self._called(request, context)
        return pb.GetModelResponse(model=model_pb2.Model(name=request.name))

    async def CreateModel(self, request: Any, context: Any) -> Any:
        await self._called(request, context)
        return pb.CreateModelResponse()

    async def UploadArtifact(self, request_iterator: Any, context: Any) -> Any:
        pieces = [piece async for piece in request_iterator]
        await self._called(pieces, context)
        return pb.UploadArtifactResponse()

    async def DownloadArtifact(self, request: Any, context: Any) -> Any:
        for content in (b"one", b"two"):
            yield pb.DownloadArtifactResponse(chunk=content)
        await self._called(request, context)


@asynccontextmanager
async def serving(folder: Path, registry: Registry, **options: Any) -> AsyncIterator[tuple[str, rpc.Server]]:
    address = f"unix:{folder}/rpc.sock"
    service = rpc.Service(registry, stubs.add_RegistryServiceServicer_to_server, NAME)
    async with rpc.serve(address, [service], **options) as server:
        yield address, server


@asynccontextmanager
async def calling(folder: Path, registry: Registry, **options: Any) -> AsyncIterator[stubs.RegistryServiceStub]:
    async with (
        serving(folder, registry) as (address, _),
        rpc.connect(address, first_delay_s=0.001, **options) as channel,
    ):
        yield stubs.RegistryServiceStub(channel)
