"""Whom inference asks: the registry, for an artifact that the shared store does not have."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import grpc

from gyrostat.registry.v1 import registry_pb2, registry_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.errors import InvalidInput, Unavailable

DOWNLOAD_S = 120.0


class WrongDigest(InvalidInput):
    """The bytes are not those that the digest names."""


class RegistryArtifacts:
    """Downloads by digest. A connection per download: they are rare."""

    def __init__(
        self, address: str, credentials: Callable[[], grpc.ChannelCredentials] = grpc.ssl_channel_credentials
    ) -> None:
        self._address, self._credentials = address, credentials

    async def fetch(self, sha256: str, into_folder: Path) -> Path:
        """Complete and checked, or an error and no file. Raises NotFound, WrongDigest, Unavailable."""
        into_folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - local and short
        target, partial = into_folder / sha256, into_folder / f".{sha256}.{os.getpid()}.registry"
        digest = hashlib.sha256()
        try:
            async with rpc.connect(self._address, actor="gyrostat-inference", credentials=self._credentials) as channel:
                with rpc.as_errors(), partial.open("wb") as file:
                    stub = registry_pb2_grpc.RegistryServiceStub(channel)
                    request = registry_pb2.DownloadArtifactRequest(sha256=sha256)
                    async for part in stub.DownloadArtifact(request, timeout=DOWNLOAD_S):
                        digest.update(part.chunk)
                        file.write(part.chunk)
                    file.flush()
                    os.fsync(file.fileno())
            if digest.hexdigest() != sha256:
                raise WrongDigest(f"the registry's bytes have digest {digest.hexdigest()[:12]}…")
            partial.replace(target)
        except OSError as error:
            raise Unavailable(f"the cache folder cannot be written: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return target
