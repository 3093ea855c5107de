"""Versions and the files behind them: push, upload, download, aliases, lineage."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.calls import Endpoint, new_request_id, pages
from gyrostat_client.references import parse, parse_version
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import to_proto

_CHUNK_BYTES = 1 << 20


class AsyncVersions:
    """Immutable, numbered artifacts of a model. References are `fraud:3`, `fraud@champion`, `fraud:v1.2`."""

    def __init__(self, registry: Endpoint) -> None:
        self._registry = registry

    async def list(self, model: str, *, limit: int | None = None) -> Sequence[model_pb2.ModelVersion]:
        """All versions of a model."""
        return await pages(
            lambda size, token: self._registry.unary(
                "ListModelVersions",
                registry_pb2.ListModelVersionsRequest(model=model, page_size=size, page_token=token),
                registry_pb2.ListModelVersionsResponse,
            ),
            lambda page: page.versions,
            limit,
        )

    async def get(self, reference: str) -> model_pb2.ModelVersion:
        """One version, named by number or alias; without either, the champion."""
        named = parse(reference)
        request = registry_pb2.GetModelVersionRequest(model=named.model, version=named.version or "champion")
        return (await self._registry.unary("GetModelVersion", request, registry_pb2.GetModelVersionResponse)).version

    async def number(self, reference: str) -> int:
        """The number that a reference stands for; asks the registry only for an alias."""
        named = parse_version(reference)
        return named.number or (await self.get(reference)).number

    async def push(
        self,
        model: str,
        onnx: Path | bytes,
        *,
        profile: Path | bytes | None = None,
        warm_up: Path | bytes | None = None,
        run_id: str = "",
        gates: Iterable[model_pb2.GateResult] = (),
        cause: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        event_time: datetime | None = None,
        hold: bool = False,
        request_id: str = "",
    ) -> registry_pb2.CreateModelVersionResponse:
        """Uploads an ONNX file and registers it as the next version; one file of one run gives one version.

        `warm_up` are samples as JSON (REST infer bodies) that it runs before it answers.
        """
        artifact = await self.upload(onnx)
        profile_sha256 = (await self.upload(profile, name="profile.json")).sha256 if profile is not None else ""
        samples = (await self.upload(warm_up, name="warm-up.json")).sha256 if warm_up is not None else ""
        derived = str(uuid5(NAMESPACE_URL, f"{model}/{run_id}/{artifact.sha256}")) if run_id else new_request_id()
        request = registry_pb2.CreateModelVersionRequest(
            request_id=request_id or derived,
            model=model,
            artifact_sha256=artifact.sha256,
            profile_sha256=profile_sha256,
            warm_up_sha256=samples,
            run_id=run_id,
            gates=gates,
            cause=cause,
            description=description,
            tags=tags,
            hold=hold,
            event_time=to_proto(event_time),
        )
        return await self._registry.unary("CreateModelVersion", request, registry_pb2.CreateModelVersionResponse)

    async def upload(self, file: Path | bytes, *, name: str = "") -> model_pb2.Artifact:
        """Stores a file under its SHA-256; an upload of what is there already changes nothing."""
        content = file if isinstance(file, bytes) else await asyncio.to_thread(_read, file)
        header = registry_pb2.UploadArtifactRequest.Header(
            name=name or ("model.onnx" if isinstance(file, bytes) else file.name),
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
        reply = await self._registry.client_stream(
            "UploadArtifact", _upload(header, content), registry_pb2.UploadArtifactResponse
        )
        return reply.artifact

    async def download(self, reference: str, into: Path) -> Path:
        """Writes a version's ONNX file, checked by its digest. `into` is a folder or the file's own path."""
        version = await self.get(reference)
        content = await self.download_artifact(version.artifact.sha256)
        return await asyncio.to_thread(_write, into, f"{version.model}-{version.number}.onnx", content)

    async def download_artifact(self, sha256: str) -> bytes:
        """The bytes stored under a digest; InvalidInput when they do not match it."""
        request = registry_pb2.DownloadArtifactRequest(sha256=sha256)
        stream = self._registry.server_stream(
            "DownloadArtifact", request, registry_pb2.DownloadArtifactResponse, timeout_s=600
        )
        content = b"".join([part.chunk async for part in stream])
        if (found := hashlib.sha256(content).hexdigest()) != sha256:
            raise InvalidInput(f"the download of {sha256} has digest {found}")
        return content

    async def archive(self, reference: str, *, request_id: str = "") -> model_pb2.ModelVersion:
        """Puts a version away; it cannot be promoted any more."""
        request = registry_pb2.ArchiveModelVersionRequest(
            request_id=request_id or new_request_id(), model=parse(reference).model, number=await self.number(reference)
        )
        reply = await self._registry.unary("ArchiveModelVersion", request, registry_pb2.ArchiveModelVersionResponse)
        return reply.version

    async def set_alias(self, reference: str, alias: str, *, request_id: str = "") -> model_pb2.Model:
        """Points a free alias at a version."""
        request = registry_pb2.SetAliasRequest(
            request_id=request_id or new_request_id(),
            model=parse(reference).model,
            alias=alias,
            number=await self.number(reference),
        )
        return (await self._registry.unary("SetAlias", request, registry_pb2.SetAliasResponse)).model

    async def delete_alias(self, model: str, alias: str, *, request_id: str = "") -> model_pb2.Model:
        """Takes a free alias away."""
        request = registry_pb2.DeleteAliasRequest(request_id=request_id or new_request_id(), model=model, alias=alias)
        return (await self._registry.unary("DeleteAlias", request, registry_pb2.DeleteAliasResponse)).model

    async def lineage(self, reference: str) -> registry_pb2.GetLineageResponse:
        """From a version back to its cause, as the registry knows it."""
        named = parse(reference)
        request = registry_pb2.GetLineageRequest(model=named.model, version=named.version or "champion")
        return await self._registry.unary("GetLineage", request, registry_pb2.GetLineageResponse)


class Versions(Blocking):
    """AsyncVersions without `await`."""

    list = blocking(AsyncVersions.list)
    get = blocking(AsyncVersions.get)
    number = blocking(AsyncVersions.number)
    push = blocking(AsyncVersions.push)
    upload = blocking(AsyncVersions.upload)
    download = blocking(AsyncVersions.download)
    download_artifact = blocking(AsyncVersions.download_artifact)
    archive = blocking(AsyncVersions.archive)
    set_alias = blocking(AsyncVersions.set_alias)
    delete_alias = blocking(AsyncVersions.delete_alias)
    lineage = blocking(AsyncVersions.lineage)


def _write(into: Path, name: str, content: bytes) -> Path:
    """The file written, under `name` when `into` is a folder."""
    target = into / name if into.is_dir() else into
    target.write_bytes(content)
    return target


def _read(file: Path) -> bytes:
    """The file's bytes; InvalidInput when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None


async def _upload(
    header: registry_pb2.UploadArtifactRequest.Header, content: bytes
) -> AsyncIterator[registry_pb2.UploadArtifactRequest]:
    """The header, then the bytes in pieces."""
    yield registry_pb2.UploadArtifactRequest(header=header)
    for start in range(0, len(content), _CHUNK_BYTES):
        yield registry_pb2.UploadArtifactRequest(chunk=content[start : start + _CHUNK_BYTES])
