"""Calls about artifacts, versions and lineage."""

from collections.abc import AsyncIterator
from typing import Any

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_proto
from gyrostat_registry.domain.paging import token
from gyrostat_registry.domain.version import GateResult, Signature
from gyrostat_registry.service import encode
from gyrostat_registry.service.calls import Calls, asked, caller, once
from gyrostat_registry.service.mapping import filled, opened
from gyrostat_registry.usecases.versions import Registration


class VersionCalls(Calls):
    """decode > use case > encode."""

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[pb.UploadArtifactRequest], context: Any
    ) -> pb.UploadArtifactResponse:
        parts = aiter(request_iterator)
        first = await anext(parts, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput("the first message of an upload is its header")
        said = first.header
        stored = await self._cases.versions.upload(
            caller(first), said.name, said.sha256, said.size_bytes, _chunks(parts)
        )
        return pb.UploadArtifactResponse(artifact=filled(model_pb2.Artifact(), stored))

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        async for chunk in await self._cases.versions.download(request.sha256):
            yield pb.DownloadArtifactResponse(chunk=chunk)

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: Any
    ) -> pb.CreateModelVersionResponse:
        # Reading a graph takes a process and seconds: never inside the transaction that `once` holds.
        await self._cases.versions.examine(_registration(request))
        return await self._register(request, context)

    @once
    async def _register(self, request: pb.CreateModelVersionRequest, context: Any) -> pb.CreateModelVersionResponse:
        view, rollout = await self._cases.versions.register(caller(request), _registration(request))
        reply = pb.CreateModelVersionResponse(version=encode.version(view))
        if rollout is not None:
            reply.rollout.CopyFrom(encode.rollout(rollout))
        return reply

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Any) -> pb.GetModelVersionResponse:
        view = await self._cases.versions.get(request.model, request.version)
        return pb.GetModelVersionResponse(version=encode.version(view))

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Any
    ) -> pb.ListModelVersionsResponse:
        found = await self._cases.versions.list(request.model, asked(request))
        listed = map(encode.version, found.rows)
        return pb.ListModelVersionsResponse(versions=listed, next_page_token=token(found.last))

    @once
    async def ArchiveModelVersion(
        self, request: pb.ArchiveModelVersionRequest, context: Any
    ) -> pb.ArchiveModelVersionResponse:
        view = await self._cases.versions.archive(caller(request), request.model, request.number)
        return pb.ArchiveModelVersionResponse(version=encode.version(view))

    async def GetLineage(self, request: pb.GetLineageRequest, context: Any) -> pb.GetLineageResponse:
        nodes, missing = await self._cases.evidence.lineage(request.model, request.version)
        return pb.GetLineageResponse(nodes=[filled(pb.LineageNode(), node) for node in nodes], missing=missing)

    async def ListAudit(self, request: pb.ListAuditRequest, context: Any) -> pb.ListAuditResponse:
        found = await self._cases.evidence.audit(request.model, request.actor, asked(request))
        entries = [filled(pb.AuditEntry(), entry) for entry in found.rows]
        return pb.ListAuditResponse(entries=entries, next_page_token=token(found.last))


async def _chunks(parts: AsyncIterator[pb.UploadArtifactRequest]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise InvalidInput("after its header an upload has chunks only")
        yield part.chunk


def _registration(request: pb.CreateModelVersionRequest) -> Registration:
    return Registration(
        model=request.model, artifact_sha256=request.artifact_sha256, profile_sha256=request.profile_sha256,
        signature=opened(Signature, request.signature), run_id=request.run_id,
        gates=tuple(opened(GateResult, gate) for gate in request.gates), cause=request.cause,
        correlation_id=request.correlation_id, causation_id=request.causation_id, description=request.description,
        tags=dict(request.tags), event_time=from_proto(request.event_time), hold=request.hold,
        warm_up_sha256=request.warm_up_sha256,
    )  # fmt: skip
