"""The four services as the demo speaks to them: one channel and one stub each, under one name in the audit log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyrostat.monitor.v1 import monitor_pb2_grpc
from gyrostat.registry.v1 import registry_pb2, registry_pb2_grpc
from gyrostat.trainer.v1 import trainer_pb2_grpc
from gyrostat_common import oip, rpc

CHUNK_BYTES = 1 << 20
# Set-up calls (an import, a first look at a big ONNX file) may take a while on a busy machine.
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Services:
    """Stubs of all four services."""

    registry: Any
    inference: Any
    monitor: Any
    trainer: Any


@asynccontextmanager
async def connect(address: Callable[[str], str], actor: str) -> AsyncIterator[Services]:
    """Stubs for the addresses that `address(name)` gives; every call is made in the name of `actor`."""
    async with AsyncExitStack() as stack:

        async def channel(name: str) -> Any:
            return await stack.enter_async_context(rpc.connect(address(name), actor=actor, timeout_s=TIMEOUT_S))

        yield Services(
            registry=_stub(registry_pb2_grpc.RegistryServiceStub, await channel("registry")),
            inference=oip.Stub(await channel("inference")),
            monitor=_stub(monitor_pb2_grpc.MonitorServiceStub, await channel("monitor")),
            trainer=_stub(trainer_pb2_grpc.TrainerServiceStub, await channel("trainer")),
        )


def _stub(kind: Callable[[Any], Any], channel: Any) -> Any:
    # The generated stubs are not typed; their callables are named as the RPCs.
    return kind(channel)


async def upload(services: Services, file: Path) -> str:
    """Sends a file to the registry and returns its digest."""
    content = await asyncio.to_thread(file.read_bytes)

    async def parts() -> AsyncIterator[registry_pb2.UploadArtifactRequest]:
        header = registry_pb2.UploadArtifactRequest.Header(name=file.name, size_bytes=len(content))
        yield registry_pb2.UploadArtifactRequest(header=header)
        for start in range(0, len(content), CHUNK_BYTES):
            yield registry_pb2.UploadArtifactRequest(chunk=content[start : start + CHUNK_BYTES])

    reply = await services.registry.UploadArtifact(parts())
    return str(reply.artifact.sha256)


async def every(call: Callable[..., Any], request: Any, field: str) -> list[Any]:
    """All pages of a List call."""
    found: list[Any] = []
    while True:
        reply = await call(request)
        found.extend(getattr(reply, field))
        if not reply.next_page_token:
            return found
        request.page_token = reply.next_page_token
