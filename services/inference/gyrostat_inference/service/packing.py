"""Bodies of REST requests that came packed: unpacked in slices beside the loop, and no further than a body may go."""

import asyncio
import zlib
from collections.abc import Callable

AT_ONCE_BYTES, SLICE_BYTES, PIECE_BYTES = 64 * 1024, 1024 * 1024, 256 * 1024
"""Unpacked on the loop; unpacked in one go in a thread; given to zlib at a time."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
ACCEPTED = ("gzip", "deflate")


class NotPacked(Exception):
    """The body is not what its Content-Encoding says."""


def packing(given: str | None) -> str:
    """The name of the packing as ours, empty for none. Raises LookupError for one that we do not know."""
    name = (given or "").strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return ""
    if name not in ACCEPTED:
        raise LookupError(name)
    return name


async def unpacked(raw: bytes, name: str, most_bytes: int, take: Callable[[int], bool]) -> bytes | int:
    """The body, or its size so far when that is more than a body may have, or `take` has no room for it. Raises
    NotPacked.
    """
    reader, parts, size = _Reader(raw, name), list[bytes](), 0
    some = reader.some(AT_ONCE_BYTES)
    while True:
        parts.append(some)
        size += len(some)
        if not take(len(some)) or size > most_bytes:
            return size
        if reader.done:
            return b"".join(parts)
        # A few kB unfold to a thousand times as much, and the loop is everybody's.
        some = await asyncio.to_thread(reader.some, SLICE_BYTES)


class _Reader:
    """One body."""

    def __init__(self, raw: bytes, name: str) -> None:
        # "deflate" is zlib's format, and for some callers the bare one.
        bits = _GZIP if name == "gzip" else _ZLIB if raw[:1] and raw[0] & 0x0F == 8 else _RAW
        self._raw, self._at, self._name, self._rest = raw, 0, name, b""
        self._inflating = zlib.decompressobj(bits)
        self.done = False

    def some(self, most_bytes: int) -> bytes:
        """The next bytes, at most so many, perhaps none."""
        if not self._rest:
            self._rest = self._raw[self._at : self._at + PIECE_BYTES]
            self._at += len(self._rest)
        try:
            found = self._inflating.decompress(self._rest, most_bytes)
        except zlib.error:
            raise NotPacked(f"the body is not {self._name}") from None
        given, self._rest = bool(self._rest), self._inflating.unconsumed_tail
        self.done = self._inflating.eof
        if self.done and (self._inflating.unused_data or self._at < len(self._raw)):
            raise NotPacked(f"there is more behind the end of the {self._name}")
        if not self.done and not found and not given:
            raise NotPacked(f"the {self._name} is cut short")
        return found
