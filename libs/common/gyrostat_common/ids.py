"""Ids as an argument: UUIDv7 (RFC 9562) in service, counted ones in tests."""

from __future__ import annotations

import os
import time
import uuid
from typing import Protocol

_RANDOM_BITS = (1 << 74) - 1


class Ids(Protocol):
    """Makes new ids."""

    def new(self) -> str: ...


def uuid7() -> uuid.UUID:
    """48 bits of Unix milliseconds, then 74 random bits: sorts by time of birth, to the millisecond."""
    random = int.from_bytes(os.urandom(10)) & _RANDOM_BITS
    high, low = random >> 62, random & ((1 << 62) - 1)
    milliseconds = time.time_ns() // 1_000_000
    return uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (high << 64) | (2 << 62) | low)


_VERSION_7 = bytes(0x70 | (byte & 0x0F) for byte in range(256))
_VARIANT = bytes(0x80 | (byte & 0x3F) for byte in range(256))


class Uuids:
    """UUIDv7 as sixteen bytes, for what makes many: their randomness is drawn for a thousand at once.

    Not for a process that forks without exec: both halves would hold the same drawn ones.
    """

    def __init__(self, at_once: int = 1024) -> None:
        self._at_once = at_once
        self._drawn: list[bytes] = []

    def new(self, now_ns: int) -> bytes:
        """A new id, born at this Unix time."""
        drawn = self._drawn
        if not drawn:
            drawn = self._drawn = self._draw()
        return (now_ns // 1_000_000).to_bytes(6, "big") + drawn.pop()

    def _draw(self) -> list[bytes]:
        """The last ten bytes of so many ids: version, twelve random bits, variant, 62 random bits."""
        random = bytearray(os.urandom(10 * self._at_once))
        random[0::10] = random[0::10].translate(_VERSION_7)
        random[2::10] = random[2::10].translate(_VARIANT)
        whole = bytes(random)
        return [whole[at : at + 10] for at in range(0, len(whole), 10)]


class RandomIds:
    """UUIDv7 as text."""

    def new(self) -> str:
        return str(uuid7())


class CountingIds:
    """`prefix-1`, `prefix-2`, …: for tests."""

    def __init__(self, prefix: str = "id") -> None:
        self._prefix, self._count = prefix, 0

    def new(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"
