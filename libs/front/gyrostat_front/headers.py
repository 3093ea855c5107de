"""What a request's header block said: a few fields looked at once, the rest as raw values until somebody asks."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

Pair = tuple[str, bytes]
Metadata = tuple[tuple[str, str | bytes], ...]

PLAIN, METHOD, SCHEME, PATH, AUTHORITY, TIMEOUT, CONTENT_TYPE, ENCODING, TE, LENGTH, ACCEPTED, BAD, BINARY = range(13)
"""Kinds of fields; up to AUTHORITY they are pseudo-headers. BAD: no request may have it. BINARY:
those whose values are base64."""
KINDS = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":path": PATH,
    b":authority": AUTHORITY,
    b"grpc-timeout": TIMEOUT,
    b"content-type": CONTENT_TYPE,
    b"grpc-encoding": ENCODING,
    b"te": TE,
    b"content-length": LENGTH,
    b"grpc-accept-encoding": ACCEPTED,
    b"connection": BAD,
    b"keep-alive": BAD,
    b"proxy-connection": BAD,
    b"transfer-encoding": BAD,
    b"upgrade": BAD,
}
_NOT_METADATA = frozenset(name.decode() for name, kind in KINDS.items() if kind != LENGTH)
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
MOST_DIGITS = 8
_TYPE = re.compile(rb"application/grpc(?:[+;].*)?", re.DOTALL)
_MALFORMED_TIMEOUT = -1.0
NOT_GRPC = frozenset(("method", "type"))
"""Of `odd`: plain HTTP, whose body nobody reads."""
IDENTITY, GZIP = b"identity", b"gzip"


class Headers:
    """One decoded block, shared by all requests that bring the same.

    `odd` is empty for a plain gRPC request without a content-length; else it says what has to be looked at.
    """

    # What is so in most blocks costs none of them anything.
    timeout_s: float | None = None
    odd = wrong = ""
    large = False
    _values: dict[str, bytes] | None = None

    def __init__(self, pairs: list[Pair], kinds: dict[int, bytes], wrong: str, large: bool) -> None:
        self._pairs, self._kinds, self.wrong, self.large = pairs, kinds, wrong, large
        self.path = kinds.get(PATH, b"")
        usual = kinds.get(METHOD) == b"POST" and kinds.get(CONTENT_TYPE) == b"application/grpc"
        rare = TIMEOUT in kinds or LENGTH in kinds or ENCODING in kinds or SCHEME not in kinds or not self.path
        if rare or BINARY in kinds or not usual or wrong or large or kinds.get(TE) != b"trailers":
            self._look()

    @property
    def pairs(self) -> list[Pair]:
        """All fields in their order."""
        return self._pairs

    @property
    def kinds(self) -> dict[int, bytes]:
        """The last value of each kind but PLAIN."""
        return self._kinds

    def _look(self) -> None:
        timeout = self.kinds.get(TIMEOUT)
        if timeout is not None:
            self.timeout_s = timeout_of(timeout)
        self.odd = self._oddity()

    @property
    def encoding(self) -> bytes:
        """Of the request's messages."""
        return self.kinds.get(ENCODING, IDENTITY)

    def _oddity(self) -> str:
        kinds = self.kinds
        if self.wrong:
            return "malformed"
        if self.large:
            return "large"
        if kinds.get(METHOD) != b"POST" or not self.path or SCHEME not in kinds:
            return "method"
        kind = kinds.get(CONTENT_TYPE, b"")
        if kind != b"application/grpc" and not _TYPE.fullmatch(kind):
            return "type"
        if self.encoding not in (IDENTITY, GZIP):
            return "encoding"
        if self.timeout_s is not None and self.timeout_s <= 0:
            return "timeout"
        if BINARY in kinds and not self._is_base64():
            return "binary"
        return "length" if LENGTH in kinds or kinds.get(TE, b"trailers") != b"trailers" else ""

    def _is_base64(self) -> bool:
        try:
            self.metadata()
        except ValueError:
            return False
        return True

    def text(self, name: str) -> str:
        """The first value of a field, as in metadata of the gRPC library; empty when there is none."""
        raw = self.value(name)
        return raw.decode("latin-1") if raw else ""

    def value(self, name: str) -> bytes | None:
        """The same, as it came."""
        values = self._values
        if values is None:
            values = self._values = dict(reversed(self._pairs))
        return values.get(name)

    def metadata(self) -> Metadata:
        """What the caller gave beside its message, binary values decoded. Raises ValueError when they are none."""
        found: list[tuple[str, str | bytes]] = []
        for name, value in self.pairs:
            if name in _NOT_METADATA:
                continue
            if name.endswith("-bin"):
                found += ((name, _from_base64(part)) for part in value.split(b","))
            else:
                found.append((name, value.decode("latin-1")))
        return tuple(found)

    def malformed(self) -> str:
        """Why HTTP/2 forbids such a request; empty when it does not."""
        kinds = self.kinds
        if self.wrong:
            return self.wrong
        if METHOD not in kinds:
            return "no :method"
        if kinds[METHOD] != b"CONNECT" and (not self.path or SCHEME not in kinds):
            return "no :path or :scheme"
        if kinds.get(TE, b"trailers") != b"trailers":
            return "te is not trailers"
        if not kinds.get(LENGTH, b"0").isdigit():
            return "content-length is no number"
        return ""


class Continued(Headers):
    """A block that begins as another did, which is a plain request, and goes on with fields of its own: of these the
    timeout alone is looked at."""

    def __init__(self, start: Headers, more: list[Pair], timeout: bytes | None) -> None:
        self._start, self._more, self._timeout, self.path = start, more, timeout, start.path
        timeout_s = self.timeout_s = start.timeout_s if timeout is None else timeout_of(timeout)
        if timeout_s is not None and timeout_s <= 0:
            self.odd = "timeout"

    @property
    def pairs(self) -> list[Pair]:
        return self._start.pairs + self._more

    @property
    def kinds(self) -> dict[int, bytes]:
        return self._start.kinds if self._timeout is None else self._start.kinds | {TIMEOUT: self._timeout}

    def value(self, name: str) -> bytes | None:
        found = self._start.value(name)
        if found is None:
            for known, raw in self._more:
                if known == name:
                    return raw
        return found


def timeout_of(raw: bytes) -> float:
    """Seconds of a grpc-timeout; negative when it is malformed.

    >>> timeout_of(b"1500m"), timeout_of(b"2H"), timeout_of(b"5")
    (1.5, 7200.0, -1.0)
    """
    number, unit_s = raw[:-1], _UNITS.get(raw[-1:])
    if unit_s is None or len(number) > MOST_DIGITS or not number.isdigit():
        return _MALFORMED_TIMEOUT
    return int(number) * unit_s


def _from_base64(raw: bytes) -> bytes:
    raw = raw.strip()
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("a -bin value is not base64") from error


_NAME = re.compile(r"[a-z0-9_.-]+")
_TEXT = re.compile(r"[\x20-\x7e]*")
_RESERVED = frozenset(("content-type", "grpc-status", "grpc-message", "grpc-encoding", "grpc-timeout", "te"))


def fields_of(metadata: Sequence[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Metadata as it goes over the wire. Raises ValueError for a name or a value that gRPC does not allow."""
    found = []
    for name, value in metadata:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"{name!r} cannot be the name of metadata")
        if name.endswith("-bin"):
            raw = value if isinstance(value, bytes) else value.encode()
            found.append((name.encode(), base64.b64encode(raw).rstrip(b"=")))
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if not _TEXT.fullmatch(text):
            raise ValueError(f"the value of {name} is not printable ASCII; binary values need a name with -bin")
        found.append((name.encode(), text.encode()))
    return found


def percent(text: str) -> bytes:
    """A status message as it goes over the wire.

    >>> percent("100 % größer")
    b'100 %25 gr%C3%B6%C3%9Fer'
    """
    return b"".join(_PERCENT[byte] for byte in text.encode(errors="replace"))


_PERCENT = [bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in range(256)]
