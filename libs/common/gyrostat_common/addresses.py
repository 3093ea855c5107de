"""The form of an address, checked where it is given: a wrong one must not look like a port in use or nobody there."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "passthrough:", "xds:")
TLS = "tls://"
EXPECTED = "expected host:port, such as 127.0.0.1:8011 or [::1]:8011"


def checked(text: str) -> str:
    """The address as it was given: host:port, or a target with one of gRPC's schemes. Raises ValueError.

    >>> checked("127.0.0.1:8011"), checked("[::1]:0"), checked("unix:/run/registry.sock")
    ('127.0.0.1:8011', '[::1]:0', 'unix:/run/registry.sock')
    >>> checked("junk")
    Traceback (most recent call last):
        ...
    ValueError: expected host:port, such as 127.0.0.1:8011 or [::1]:8011
    """
    if text.startswith(SCHEMES):
        return text
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    whole = bool(host) and not any(sign.isspace() or sign in "/@" for sign in host) and (bracketed or ":" not in host)
    if not whole or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65_535:
        raise ValueError(EXPECTED)
    return text


def called(text: str) -> str:
    """The same for one that we call; with `tls://` before it, over TLS. Raises ValueError.

    >>> called("tls://inference.prod:8001"), called("127.0.0.1:8011")
    ('tls://inference.prod:8001', '127.0.0.1:8011')
    """
    checked(text.removeprefix(TLS))
    return text


def each_checked(text: str) -> str:
    """The same for several with commas between."""
    for one in text.split(","):
        checked(one.strip())
    return text


Address = Annotated[str, AfterValidator(checked)]
Addresses = Annotated[str, AfterValidator(each_checked)]
NoneOrAddress = Annotated[str, AfterValidator(lambda text: checked(text) if text else text)]
Called = Annotated[str, AfterValidator(called)]
NoneOrCalled = Annotated[str, AfterValidator(lambda text: called(text) if text else text)]
