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
