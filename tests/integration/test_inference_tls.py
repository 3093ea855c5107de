"""Inference over TLS, as a process on a real Kafka: both protocols, whoever answers, with certificates that rotate."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest

from gyrostat_client.client import AsyncClient
from gyrostat_client.doctor import examine
from gyrostat_client.settings import Settings
from gyrostat_common import oip
from gyrostat_common.bus import topics
from gyrostat_common.settings import CallingTls, KafkaSettings
from gyrostat_common.tls import channel_credentials
from support.certificates import Authority
from support.inference import Place, until

CLIENT = "GYROSTAT_CLIENT__"


@contextmanager
def a_service(place: Place, **options: str) -> Iterator[subprocess.Popen[str]]:
    """The service as a process; ended in good order, or else the test fails."""
    environ = {**os.environ, **place.environ(), **options}
    command = [sys.executable, "-m", "gyrostat_inference"]
    service = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield service
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.communicate(timeout=60)
        finally:
            service.kill()


def client(place: Place, authority: Authority, shown: Path) -> AsyncClient:
    """Of the SDK, as the settings make it."""
    return AsyncClient(
        Settings.load(
            {
                f"{CLIENT}INFERENCE_ADDRESS": f"tls://localhost:{place.port}",
                f"{CLIENT}TLS__CA": str(authority.certificate_file),
                f"{CLIENT}TLS__CERTIFICATE": str(shown),
                f"{CLIENT}TLS__KEY": str(shown),
                f"{CLIENT}TRIES": "1",
                "GYROSTAT_DATA__FOLDER": str(place.folder),
                "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": place.kafka.bootstrap_servers,
                "GYROSTAT_KAFKA__TOPIC_PREFIX": place.kafka.topic_prefix,
            }
        )
    )


async def live(place: Place, authority: Authority, shown: Path) -> bool:
    """Over a new connection of each protocol."""
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    context.load_cert_chain(shown)
    trust = CallingTls(ca=str(authority.certificate_file), certificate=str(shown), key=str(shown))
    own = [("grpc.use_local_subchannel_pool", 1)]
    try:
        async with grpc.aio.secure_channel(
            f"localhost:{place.port}", channel_credentials(trust, "client"), own
        ) as channel:
            answer = (await oip.Stub(channel).ServerLive(oip.ServerLiveRequest(), timeout=5)).live
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://localhost:{place.rest_port}/v2/health/live", ssl=context) as reply,
        ):
            return bool(answer) and reply.status == 200
    except (grpc.aio.AioRpcError, aiohttp.ClientError, OSError):
        return False


@pytest.mark.parametrize(("front", "workers"), [("grpcio", 1), ("own", 1), ("own", 2)])
async def test_both_protocols_speak_tls_with_certificates_that_rotate(
    fresh_kafka: KafkaSettings, tmp_path: Path, front: str, workers: int
):
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    files = {name: tmp_path / f"{name}.pem" for name in ("server", "ca")}
    shutil.copy(first.issue("server"), files["server"])
    shutil.copy(first.certificate_file, files["ca"])
    ours, theirs = first.issue("client"), second.issue("client")
    options = {"front": front, "workers": workers, "tls__certificate": files["server"], "tls__key": files["server"]}
    place = Place(tmp_path / "data", fresh_kafka, options=options | {"tls__client_ca": files["ca"]})
    await topics.apply(fresh_kafka)
    with a_service(place):
        await until(lambda: live(place, first, ours))
        assert not await live(place, first, theirs)
        async with client(place, first, ours) as gyrostat:
            assert await answers(gyrostat)
            await until(lambda: told(gyrostat, "serving at tls://localhost"))
            shutil.copy(second.issue("server"), files["server"])
            shutil.copy(second.certificate_file, files["ca"])
            await until(lambda: live(place, second, theirs))
            assert not await live(place, second, ours)
            assert await answers(gyrostat)
            os.truncate(files["server"], 10)
            await until(lambda: told(gyrostat, "TLS__CERTIFICATE"))
        assert await live(place, second, theirs)


async def answers(gyrostat: AsyncClient) -> bool:
    """Over the connection that it has."""
    endpoint = gyrostat.endpoints["inference"]
    return bool((await endpoint.unary("ServerLive", oip.ServerLiveRequest(), oip.ServerLiveResponse)).live)


async def told(gyrostat: AsyncClient, words: str) -> bool:
    """By the doctor."""
    return any(words in check.found for check in await examine(gyrostat) if check.name == "inference")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_wrong_file_ends_the_start_with_one_line(fresh_kafka: KafkaSettings, tmp_path: Path, workers: int):
    key = Authority(tmp_path / "authority").issue("server")
    place = Place(
        tmp_path, fresh_kafka, options={"workers": workers, "tls__certificate": tmp_path / "none", "tls__key": key}
    )
    with a_service(place) as service:
        _, said = service.communicate(timeout=60)
    wanted = f"GYROSTAT_INFERENCE__TLS__CERTIFICATE={tmp_path}/none: no such file or directory"
    assert f"gyrostat_inference: cannot start: {wanted}" in said.splitlines()
    assert service.returncode == 3
