"""Certificates as files: whom a front lets in, and that new ones are used without a connection lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from functools import partial
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gyrostat_common import oip, rpc
from gyrostat_common.errors import CannotStart
from gyrostat_common.health import Health
from gyrostat_common.settings import CallingTls, ServingTls
from gyrostat_common.tls import Certificates, FilesUnusable, channel_credentials, keeping
from support.certificates import Authority
from support.echo import an_echo
from support.fronts import certificates, serving
from support.waiting import eventually

OWN = (("grpc.use_local_subchannel_pool", 1),)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder / "first"), Authority(folder / "second")


def dialled(port: int, trusted: Authority, shown: Path | None = None) -> grpc.aio.Channel:
    """A connection of its own."""
    pem = None if shown is None else shown.read_bytes()
    credentials = grpc.ssl_channel_credentials(trusted.certificate_file.read_bytes(), pem, pem)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, OWN)


async def code(port: int, trusted: Authority, shown: Path | None = None) -> grpc.StatusCode:
    """How a call over a new connection ends."""
    async with dialled(port, trusted, shown) as channel:
        try:
            await oip.Stub(channel).ModelInfer(an_echo(b"x"), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_with_a_client_authority_only_its_clients_come_in(front: str, authorities: tuple[Authority, Authority]):
    ours, other = authorities
    shown = certificates(ours.issue("server"), ours.certificate_file)
    async with serving(front, tls=shown) as server:
        assert await code(server.port, ours) is grpc.StatusCode.UNAVAILABLE
        assert await code(server.port, ours, other.issue("client")) is grpc.StatusCode.UNAVAILABLE
        assert await code(server.port, ours, ours.issue("client")) is grpc.StatusCode.OK


async def test_new_files_are_for_new_connections_and_old_ones_stay(
    front: str, authorities: tuple[Authority, Authority], tmp_path: Path
):
    first, second = authorities
    (file := tmp_path / "server.pem").symlink_to(first.issue("server"))
    (client_ca := tmp_path / "ca.pem").symlink_to(first.certificate_file)
    shown = certificates(file, client_ca)
    async with serving(front, tls=shown) as server, dialled(server.port, first, first.issue("client")) as before:
        stub = oip.Stub(before)
        await stub.ModelInfer(an_echo(b"1"), timeout=10)
        file.unlink()
        file.symlink_to(second.issue("server"))
        client_ca.unlink()
        client_ca.symlink_to(second.certificate_file)
        shown.look()
        assert await code(server.port, second, second.issue("client")) is grpc.StatusCode.OK
        assert await code(server.port, first, first.issue("client")) is grpc.StatusCode.UNAVAILABLE
        assert await code(server.port, second, first.issue("client")) is grpc.StatusCode.UNAVAILABLE
        assert (await stub.ModelInfer(an_echo(b"2"), timeout=10)).raw_output_contents[0] == b"2"
        assert before.get_state() is grpc.ChannelConnectivity.READY


async def test_files_that_cannot_be_used_are_a_problem_and_the_old_ones_stay(
    front: str, authorities: tuple[Authority, Authority], tmp_path: Path
):
    ours = authorities[0]
    file = Path(shutil.copy(ours.issue("server"), tmp_path / "server.pem"))
    shown = certificates(file)
    async with serving(front, tls=shown) as server:
        os.truncate(file, 10)
        shown.look()
        assert shown.problem is not None
        assert f"GYROSTAT_INFERENCE__TLS__CERTIFICATE={file}: no certificate in PEM" in shown.problem
        assert await code(server.port, ours) is grpc.StatusCode.OK
        shutil.copy(ours.issue("server"), file)
        shown.look()
        assert shown.problem is None
        assert await code(server.port, ours) is grpc.StatusCode.OK


async def test_files_are_read_again_by_themselves(authorities: tuple[Authority, Authority], tmp_path: Path):
    file = Path(shutil.copy(authorities[0].issue("server"), tmp_path / "server.pem"))
    health = Health()
    async with keeping(ServingTls(certificate=str(file), key=str(file)), "inference", health, every_s=0.01):
        assert health.look().problems == {}
        os.truncate(file, 10)
        await eventually(lambda: "tls" in health.look().problems)
        shutil.copy(authorities[0].issue("server"), file)
        await eventually(lambda: not health.look().problems)


def test_a_certificate_that_ends_soon_is_a_problem(authorities: tuple[Authority, Authority]):
    """It holds for a day and an hour, from an hour ago: the last tenth is two and a half hours."""
    file, later = authorities[0].issue("server"), [0.0]
    shown = Certificates(
        ServingTls(certificate=str(file), key=str(file)), "inference", wall=lambda: time.time() + later[0]
    )
    later[0] = 21 * 3600
    assert shown.problem is None
    later[0] = 22 * 3600
    assert shown.problem is not None
    assert f"{file} ends at 20" in shown.problem


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"certificate": "{none}"}, "TLS__CERTIFICATE={none}: no such file or directory"),
        ({"key": "{none}"}, "TLS__KEY={none}: no such file or directory"),
        ({"client_ca": "{none}"}, "TLS__CLIENT_CA={none}: no such file or directory"),
        ({"key": "{other}"}, "TLS__KEY={other}: not the key of GYROSTAT_INFERENCE__TLS__CERTIFICATE={server}"),
        ({"certificate": "{junk}"}, "TLS__CERTIFICATE={junk}: no certificate in PEM"),
        ({"key": "{junk}"}, "TLS__KEY={junk}: no private key in PEM, or one with a passphrase"),
        ({"client_ca": "{junk}"}, "TLS__CLIENT_CA={junk}: no certificate in PEM"),
        ({"client_ca": "{empty}"}, "TLS__CLIENT_CA={empty}: no certificate in PEM"),
        ({"certificate": "{weak}", "key": "{weak}"}, "TLS__CERTIFICATE={weak}: ee key too small"),
        ({"certificate": "{folder}"}, "TLS__CERTIFICATE={folder}: is a directory"),
    ],
)
def test_a_wrong_file_is_named_with_its_setting(
    authorities: tuple[Authority, Authority], tmp_path: Path, given: dict[str, str], words: str
):
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "empty").touch()
    places = {
        "server": authorities[0].issue("server"),
        "other": authorities[0].issue("other"),
        "none": tmp_path / "none",
        "junk": tmp_path / "junk",
        "folder": tmp_path,
        "empty": tmp_path / "empty",
        "weak": authorities[0].issue("weak", rsa.generate_private_key(65537, 1024)),
    }
    files = {"certificate": "{server}", "key": "{server}"} | given
    with pytest.raises(CannotStart) as caught:
        Certificates(ServingTls(**{name: file.format(**places) for name, file in files.items()}), "inference")
    assert str(caught.value) == f"GYROSTAT_INFERENCE__{words.format(**places)}"


@pytest.mark.parametrize("shows", [True, False], ids=["shown", "nothing shown"])
async def test_callers_of_ours_trust_an_authority_and_show_themselves(
    front: str, authorities: tuple[Authority, Authority], shows: bool
):
    ours = authorities[0]
    client = str(ours.issue("client")) if shows else ""
    trust = CallingTls(ca=str(ours.certificate_file), certificate=client, key=client)
    credentials = partial(channel_credentials, trust, "client")
    async with (
        serving(front, tls=certificates(ours.issue("server"), ours.certificate_file)) as server,
        rpc.connect(f"tls://localhost:{server.port}", tries=1, credentials=credentials) as channel,
    ):
        if shows:
            assert (await rpc.ask_health(channel, timeout_s=10)).word == "serving"
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc.ask_health(channel, timeout_s=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_caller_of_ours_is_told_which_file_is_wrong(tmp_path: Path):
    with pytest.raises(FilesUnusable, match=f"GYROSTAT_CLIENT__TLS__CA={tmp_path}/none: no such file"):
        channel_credentials(CallingTls(ca=f"{tmp_path}/none"), "client")


async def test_connections_come_in_while_files_are_replaced(
    front: str, authorities: tuple[Authority, Authority], tmp_path: Path
):
    ours = authorities[0]
    file = Path(shutil.copy(ours.issue("server"), tmp_path / "server.pem"))
    shown = certificates(file)
    async with serving(front, tls=shown) as server:
        for _ in range(5):
            calls = [asyncio.create_task(code(server.port, ours)) for _ in range(8)]
            shutil.copy(ours.issue("server"), file)
            await asyncio.to_thread(shown.look)
            assert set(await asyncio.gather(*calls)) == {grpc.StatusCode.OK}
