"""Whether TLS is why nobody answers: gRPC's channels only say that they cannot connect. For `doctor`."""

import asyncio
import ssl

from gyrostat_common.addresses import TLS
from gyrostat_common.settings import CallingTls

WITHIN_S = 2.0


async def tls_problem(address: str, given: CallingTls) -> str:
    """What is wrong with TLS between us and the address; empty when it is not that. Raises nothing."""
    name = address.removeprefix(TLS)
    secure = name != address
    host, _, port = name.rpartition(":")
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=_trusting(given) if secure else _blind()
            )
            try:
                heard = await reader.read(1)  # only now a server says that it wants a certificate
            finally:
                writer.transport.abort()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is refused: {error.verify_message}"
    except (ssl.SSLError, ConnectionResetError) as error:
        wanted = "CERTIFICATE" in (getattr(error, "reason", None) or "")
        return "" if not secure else "it wants a certificate of ours" if wanted else "it does not speak TLS"
    except (OSError, ValueError, TimeoutError):
        return ""
    if not secure:
        return "it speaks TLS"
    return "" if heard else "it wants a certificate of ours"


def _trusting(given: CallingTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=given.ca or None)
    if given.certificate:
        context.load_cert_chain(given.certificate, given.key)
    context.set_alpn_protocols(["h2"])
    return context


def _blind() -> ssl.SSLContext:
    """Only asks whether TLS is spoken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
