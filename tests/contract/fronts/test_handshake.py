"""Why a channel does not open, when it is TLS: as the doctor says it, of each front."""

from __future__ import annotations

from pathlib import Path

import pytest

from gyrostat_client.handshake import tls_problem
from gyrostat_common.settings import CallingTls
from support.certificates import Authority
from support.fronts import certificates, serving


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other") / "authority")


async def test_a_server_with_tls(front: str, authority: Authority, other: Authority):
    ours, theirs = (CallingTls(ca=str(one.certificate_file)) for one in (authority, other))
    async with serving(front, tls=certificates(authority.issue("server"))) as server:
        assert await tls_problem(f"tls://localhost:{server.port}", ours) == ""
        assert await tls_problem(f"localhost:{server.port}", ours) == "it speaks TLS"
        refused = await tls_problem(f"tls://localhost:{server.port}", theirs)
        assert refused.startswith("its certificate is refused: ")


async def test_a_server_that_wants_a_certificate(front: str, authority: Authority):
    ca, shown = str(authority.certificate_file), str(authority.issue("client"))
    wants = certificates(authority.issue("server"), authority.certificate_file)
    async with serving(front, tls=wants) as server:
        address = f"tls://localhost:{server.port}"
        assert await tls_problem(address, CallingTls(ca=ca)) == "it wants a certificate of ours"
        assert await tls_problem(address, CallingTls(ca=ca, certificate=shown, key=shown)) == ""


async def test_a_server_without_tls_and_nobody(front: str, authority: Authority, tmp_path: Path):
    ours = CallingTls(ca=str(authority.certificate_file))
    async with serving(front) as server:
        assert await tls_problem(f"tls://localhost:{server.port}", ours) == "it does not speak TLS"
        assert await tls_problem(f"localhost:{server.port}", ours) == ""
    assert await tls_problem(f"tls://localhost:{server.port}", ours) == ""
    assert await tls_problem(f"unix:{tmp_path}/none", ours) == ""
