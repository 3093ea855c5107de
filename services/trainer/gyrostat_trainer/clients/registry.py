"""The registry over gRPC.

Every call that changes something carries a request id derived from run and digest: repeated after a crash or a lost
reply it has one effect.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from gyrostat.registry.v1 import model_pb2, registry_pb2, registry_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.errors import NotFound, Unavailable
from gyrostat_trainer import wire
from gyrostat_trainer.domain.errors import JobFailed, ModelUnknown, RegistryAway
from gyrostat_trainer.domain.runs import Champion, Gate, Registered, Run
from gyrostat_trainer.domain.spec import TrainingSpec

PIECE_BYTES = 1 << 20
TRAINED_UNTIL = "trained_until_us"
_NAMES = uuid.UUID("5d0d2f3b-92a3-4f0c-9d0a-1c3a6a1f7a10")


def request_id(*parts: str) -> str:
    """The same id for the same parts, in every process."""
    return str(uuid.uuid5(_NAMES, "/".join(parts)))


@contextmanager
def _asked() -> Iterator[None]:
    """What a registry that is away raises is RegistryAway, whatever it looked like."""
    try:
        with rpc.as_errors():
            yield
    except Unavailable as exc:
        raise RegistryAway(f"the registry is away: {exc}") from exc
    except grpc.aio.AioRpcError as exc:
        if exc.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            raise RegistryAway(f"the registry did not answer: {exc.code().name.lower()}") from exc
        raise JobFailed(f"the registry answered {exc.code().name}: {exc.details()}") from exc


class RegistryClient:
    """Calls on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def spec(self, model: str) -> TrainingSpec:
        """The model's spec in force. ModelUnknown when there is no such model."""
        try:
            with _asked():
                reply = await self._stub.GetModel(registry_pb2.GetModelRequest(name=model))
        except NotFound as exc:
            raise ModelUnknown(f"the registry knows no model {model!r}") from exc
        return wire.spec_from(reply.model.spec)

    async def create_run(self, run: Run) -> None:
        """Once per run. That it was cancelled is said with its end."""
        message = wire.run(run.changed(cancelled_by="", cancel_reason=""))
        request = registry_pb2.CreateRunRequest(request_id=request_id(run.id, "create"), run=message)
        with _asked():
            await self._stub.CreateRun(request)

    async def update_run(self, run: Run) -> None:
        """Once per run and status. One that ended before it was announced is announced with its end."""
        said = registry_pb2.UpdateRunRequest(request_id=request_id(run.id, "update", run.status), run=wire.run(run))
        try:
            with _asked():
                await self._stub.UpdateRun(said)
        except NotFound:
            await self.create_run(run)
            with _asked():
                await self._stub.UpdateRun(said)

    async def champion(self, model: str, environment: str) -> Champion | None:
        """The version that answers, None when none does."""
        try:
            with _asked():
                plan = await self._stub.GetPlan(registry_pb2.GetPlanRequest(environment=environment, model=model))
                number = plan.plan.champion.number
                if not number:
                    return None
                reply = await self._stub.GetModelVersion(
                    registry_pb2.GetModelVersionRequest(model=model, version=str(number))
                )
        except NotFound:
            return None
        said = reply.version.tags.get(TRAINED_UNTIL, "")
        trained_until = int(said) if said.isdigit() else None
        return Champion(number, reply.version.artifact.sha256, trained_until, _signature(reply.version.signature))

    async def download(self, sha256: str, path: Path) -> None:
        """An artifact into a file; JobFailed when its bytes are not those of its digest."""
        digest = hashlib.sha256()
        with _asked(), path.open("wb") as sink:
            async for piece in self._stub.DownloadArtifact(registry_pb2.DownloadArtifactRequest(sha256=sha256)):
                digest.update(piece.chunk)
                sink.write(piece.chunk)
        if digest.hexdigest() != sha256:
            raise JobFailed(f"artifact {sha256} arrived with digest {digest.hexdigest()}")

    async def upload(self, path: Path, name: str) -> str:
        """SHA-256 under which the registry keeps the file. Content-addressed: a repeat changes nothing."""
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        with _asked():
            reply = await self._stub.UploadArtifact(_pieces(path, name, sha256))
        return str(reply.artifact.sha256)

    async def register(self, run: Run, model_sha256: str, profile_sha256: str, evaluated: str) -> Registered:
        """The next version with its evidence; the registry judges the numbers and may start a roll-out."""
        assert run.snapshot is not None
        request = registry_pb2.CreateModelVersionRequest(
            request_id=request_id(run.id, model_sha256),
            model=run.model,
            artifact_sha256=model_sha256,
            profile_sha256=profile_sha256,
            run_id=run.id,
            gates=[wire.gate(result) for result in run.gates],
            cause=run.causes[0],
            correlation_id=run.correlation_id,
            causation_id=run.causation_id,
            description=run.reason,
            tags={
                TRAINED_UNTIL: str(run.snapshot.to_us),
                "evaluated": evaluated,
                "snapshot_sha256": run.snapshot.sha256,
            },
            event_time=wire.stamp(run.trained_at_us),
            hold=run.hold,
        )
        with _asked():
            reply = await self._stub.CreateModelVersion(request)
        return _registered(reply.version)


def _signature(signature: model_pb2.Signature) -> str:
    """As a pipeline gets it; empty when the registry names no input."""

    def tensors(given: Iterable[model_pb2.TensorSpec]) -> list[dict[str, object]]:
        return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in given]

    both = {"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)}
    return json.dumps(both, sort_keys=True) if both["inputs"] else ""


def _registered(version: model_pb2.ModelVersion) -> Registered:
    judged: tuple[Gate, ...] = tuple(wire.gate_from(result) for result in version.gates)
    passed = version.stage != model_pb2.STAGE_REJECTED
    refused = "; ".join(f"{g.gate}: {g.reason}" for g in judged if not g.passed)
    return Registered(version.number, passed, "" if passed else refused or version.stage_reason, judged)


async def _pieces(path: Path, name: str, sha256: str) -> AsyncIterator[registry_pb2.UploadArtifactRequest]:
    size = await asyncio.to_thread(os.path.getsize, path)
    header = registry_pb2.UploadArtifactRequest.Header(name=name, sha256=sha256, size_bytes=size)
    yield registry_pb2.UploadArtifactRequest(header=header)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield registry_pb2.UploadArtifactRequest(chunk=piece)
