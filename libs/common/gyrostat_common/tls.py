"""TLS by files that may be replaced while the process runs: what a server shows and whom it lets in, and what a client
trusts. `keeping` is for servers, `channel_credentials` for those who call them.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gyrostat_common.errors import CannotStart, Unavailable
from gyrostat_common.health import Health
from gyrostat_common.settings import CallingTls, ServingTls, Tls
from gyrostat_common.tasks import ended
from gyrostat_common.telemetry.log import get_logger

log = get_logger("tls")
LOOK_EVERY_S = 5.0
"""How soon files that were replaced are used."""
TRIES = 3
FEW = 0.1
"""Of a certificate's life: with less of it left, somebody should see to it."""


_TOO_WEAK = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")
"""What OpenSSL says of certificates that nobody should trust."""


class FilesUnusable(Unavailable):
    """Files for calling others over TLS that are not there, or hold something else."""


class _Wrong(Exception):
    """What is wrong with which setting."""


@dataclass(frozen=True)
class _Files:
    """What lay in the files at one moment, as PEM, and until when it holds."""

    chain: bytes
    key: bytes
    client_ca: bytes
    begins: float = 0.0
    ends: float = 0.0
    refused: str = ""
    """Why no client will take the certificate; empty when that is not known."""


class _Current(ssl.SSLContext):
    """Stands for the context that is made of the newest files: a connection keeps what it began with."""

    _newest: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        return self._newest().wrap_bio(*given, **named)


class Certificates:
    """What a server shows, its key, and the authorities of clients that it lets in. Raises CannotStart for files that
    cannot be used; later such files are a `problem`, and what was read before stays in use.
    """

    def __init__(self, given: ServingTls, owner: str, wall: Callable[[], float] = time.time) -> None:
        self._given, self._owner, self._wall = given, owner, wall
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._wrong: str | None = None
        try:
            self._files = self._read()
        except _Wrong as error:
            raise CannotStart(str(error)) from None

    @property
    def problem(self) -> str | None:
        """What somebody should see to: files that cannot be used, a certificate that ends; else None."""
        files, now = self._files, self._wall()
        if self._wrong is not None:
            return f"the newest files are not used: {self._wrong}"
        if files.refused:
            return f"clients will not take {self._variable('certificate')}: {files.refused}"
        if now > files.ends - (files.ends - files.begins) * FEW:
            return (
                f"{self._variable('certificate')} ends at {time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime(files.ends))}"
            )
        return None

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For servers of asyncio that speak these protocols (ALPN): each connection gets the newest files."""
        try:
            self._contexts[protocols] = self._made(protocols)
        except _Wrong as error:
            raise CannotStart(str(error)) from None
        current = _Current(ssl.PROTOCOL_TLS_SERVER)
        current._newest = lambda: self._contexts[protocols]
        return current

    def credentials(self) -> grpc.ServerCredentials:
        """The same for gRPC's own server."""
        used = self._files

        def newest() -> Any:
            nonlocal used
            if self._files is used:
                return None
            used = self._files
            return _configuration(used)

        return grpc.dynamic_ssl_server_credentials(_configuration(used), newest, bool(self._given.client_ca))

    async def keep(self, every_s: float = LOOK_EVERY_S) -> None:
        """Looks for new files until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Uses what lies in the files now."""
        try:
            files = self._read()
            if (files.chain, files.key, files.client_ca) != (
                self._files.chain,
                self._files.key,
                self._files.client_ca,
            ):
                self._contexts = {protocols: self._made(protocols) for protocols in self._contexts}
                self._files = files
                log.info("certificate_replaced", ends=files.ends)
            self._wrong = None
        except _Wrong as error:
            self._wrong = str(error)

    def _read(self) -> _Files:
        """Files that belong together: they are not replaced at one moment. Raises _Wrong."""
        for _ in range(TRIES - 1):
            files = self._checked()
            if files == self._checked():
                break
        return files

    def _checked(self) -> _Files:
        chain, key, client_ca = (self._bytes(name) for name in ("certificate", "key", "client_ca"))
        server = self._made((), lets_all_in=True)
        try:
            shown = _shown(server, self._given.certificate)
        except ssl.SSLCertVerificationError as error:
            return _Files(chain, key, client_ca, refused=error.verify_message)
        except (ssl.SSLError, KeyError) as error:
            raise _Wrong(f"{self._variable('certificate')}: no handshake with it succeeds: {error}") from None
        begins, ends = (ssl.cert_time_to_seconds(shown[name]) for name in ("notBefore", "notAfter"))
        if self._given.client_ca:
            self._made(())
        return _Files(chain, key, client_ca, begins, ends)

    def _bytes(self, name: str) -> bytes:
        return _bytes(self._given, name, self._variable(name))

    def _made(self, protocols: tuple[str, ...], *, lets_all_in: bool = False) -> ssl.SSLContext:
        """Of the files as they are. Raises _Wrong."""
        given = self._given
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if protocols:
            context.set_alpn_protocols(list(protocols))
        _load_chain(context, given, self._variable)
        if given.client_ca and not lets_all_in:
            _load_authority(context, given.client_ca, self._variable("client_ca"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _variable(self, name: str) -> str:
        return f"GYROSTAT_{self._owner.upper()}__TLS__{name.upper()}={getattr(self._given, name)}"


@asynccontextmanager
async def keeping(
    given: ServingTls, owner: str, health: Health, every_s: float = LOOK_EVERY_S
) -> AsyncIterator[Certificates | None]:
    """The certificates of a service while the block runs, read again when they change; None where none are set. What
    is wrong with them is an alarm. Raises CannotStart."""
    if not given.certificate:
        yield None
        return
    certificates = await asyncio.to_thread(Certificates, given, owner)
    health.alarm("tls", lambda: certificates.problem)
    keeper = asyncio.create_task(certificates.keep(every_s), name="read certificates")
    try:
        yield certificates
    finally:
        await ended(keeper)


def channel_credentials(given: CallingTls, owner: str) -> grpc.ChannelCredentials:
    """What a caller of ours trusts and shows, by the files of this moment. Raises FilesUnusable."""

    def variable(name: str) -> str:
        return f"GYROSTAT_{owner.upper()}__TLS__{name.upper()}={getattr(given, name)}"

    try:
        ca, key, chain = (_bytes(given, name, variable(name)) or None for name in ("ca", "key", "certificate"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca is not None:
            _load_authority(context, given.ca, variable("ca"))
        if chain is not None:
            _load_chain(context, given, variable)
    except _Wrong as error:
        raise FilesUnusable(str(error)) from None
    return grpc.ssl_channel_credentials(ca, key, chain)


def _bytes(given: Tls, name: str, variable: str) -> bytes:
    file = getattr(given, name)
    try:
        return Path(file).read_bytes() if file else b""
    except OSError as error:
        raise _Wrong(f"{variable}: {(error.strerror or str(error)).lower()}") from None


def _load_authority(context: ssl.SSLContext, file: str, variable: str) -> None:
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError):
        raise _Wrong(f"{variable}: no certificate in PEM") from None


def _load_chain(context: ssl.SSLContext, given: Tls, variable: Callable[[str], str]) -> None:
    _load_authority(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), given.certificate, variable("certificate"))
    try:
        context.load_cert_chain(given.certificate, given.key, password=_none)
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise _Wrong(f"{variable('key')}: not the key of {variable('certificate')}") from None
        reason = getattr(error, "reason", None)
        if reason in _TOO_WEAK:
            raise _Wrong(f"{variable('certificate')}: {reason.lower().replace('_', ' ')}") from None
        raise _Wrong(f"{variable('key')}: no private key in PEM, or one with a passphrase") from None


def _none() -> str:
    """Nobody is there to be asked for a passphrase."""
    return ""


def _configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.chain)], files.client_ca or None)


def _shown(server: ssl.SSLContext, certificate: str) -> dict[str, Any]:
    """What a client who trusts the certificate sees of it. Raises SSLCertVerificationError when it would refuse."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for _ in range(4):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return dict(ends[0].getpeercert() or {})
