"""HPACK (RFC 7541). Reads the blocks of one connection; writes ours without an index, so that they never change.

The same block means the same fields for as long as the dynamic table does not change: such blocks are remembered whole.
"""

from __future__ import annotations

import re
from collections import deque

from gyrostat_front import huffman
from gyrostat_front.frames import COMPRESSION_ERROR, Violation
from gyrostat_front.headers import AUTHORITY, BAD, KINDS, PLAIN, Headers, Pair

Entry = tuple[Pair, int, int]
"""Name and value, kind, size as RFC 7541 counts it."""
TABLE_BYTES = 4096
ENTRY_BYTES = 32
MOST_REMEMBERED, LONGEST_REMEMBERED, LONGEST_NAME, LONGEST_INTEGER = 64, 512, 64, 5
_NAME = re.compile(rb":?[a-z0-9!#$%&'*+.^_`|~-]+")
_STATIC_TEXT = (
    ":authority;:method=GET;:method=POST;:path=/;:path=/index.html;:scheme=http;:scheme=https;:status=200;"
    ":status=204;:status=206;:status=304;:status=400;:status=404;:status=500;accept-charset;"
    "accept-encoding=gzip, deflate;accept-language;accept-ranges;accept;access-control-allow-origin;age;allow;"
    "authorization;cache-control;content-disposition;content-encoding;content-language;content-length;"
    "content-location;content-range;content-type;cookie;date;etag;expect;expires;from;host;if-match;"
    "if-modified-since;if-none-match;if-range;if-unmodified-since;last-modified;link;location;max-forwards;"
    "proxy-authenticate;proxy-authorization;range;referer;refresh;retry-after;server;set-cookie;"
    "strict-transport-security;transfer-encoding;user-agent;vary;via;www-authenticate"
)


def _kind(name: bytes) -> int:
    known = KINDS.get(name)
    if known is not None:
        return known
    return PLAIN if _NAME.fullmatch(name) and name[:1] != b":" else BAD


def _entry(name: str, value: bytes, kind: int) -> Entry:
    return (name, value), kind, ENTRY_BYTES + len(name) + len(value)


STATIC: tuple[Entry | None, ...] = (
    None,  # there is no index 0
    *(_entry(n, v.encode(), _kind(n.encode())) for n, _, v in (one.partition("=") for one in _STATIC_TEXT.split(";"))),
)


class Decoder:
    """The reading side of one connection. `memo` is valid at any time; callers may look into it first."""

    def __init__(self, most_list_bytes: int = 16_384, most_table_bytes: int = TABLE_BYTES) -> None:
        self._most_list, self._most_table = most_list_bytes, most_table_bytes
        self._entries: deque[Entry] = deque()
        self._bytes, self._room = 0, most_table_bytes
        self._names: dict[bytes, tuple[str, int]] = {}
        self._changed = False
        self._seen: set[int] = set()
        self.memo: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The fields of a whole block. Raises Violation: after that the connection's table is unknown."""
        known = self.memo.get(block)
        if known is not None:
            return known
        self._changed = False
        try:
            headers = self._read(block)
        # An index or a length that points outside, index 0, a Huffman text that is none.
        except (IndexError, TypeError, ValueError) as error:
            raise Violation(COMPRESSION_ERROR, "a header block that cannot be decoded") from error
        if self._changed:
            self.memo.clear()
        else:
            self._remember(block, headers)
        return headers

    def rest(self) -> None:
        """Forgets what it remembers, which is no part of the protocol's state."""
        self.memo.clear()
        self._names.clear()
        self._seen.clear()

    def _remember(self, block: bytes, headers: Headers) -> None:
        """When it comes a second time: most blocks with varying fields never do."""
        mark, seen = hash(block), self._seen
        if mark not in seen:
            if len(seen) >= MOST_REMEMBERED:
                seen.clear()
            seen.add(mark)
        elif len(block) <= LONGEST_REMEMBERED:
            if len(self.memo) >= MOST_REMEMBERED:
                self.memo.clear()
            self.memo[block] = headers

    def _read(self, block: bytes) -> Headers:  # noqa: C901 - once per field of every request: calls would double it
        at, end, total, pseudo, most = 0, len(block), 0, 0, self._most_list
        entries, wrong = self._entries, ""
        pairs: list[Pair] = []
        kinds: dict[int, bytes] = {}
        while at < end:
            byte = block[at]
            at += 1
            if byte > 127:
                index = byte & 127
                if index == 127:
                    index, at = integer(block, at, 127)
                pair, kind, size = STATIC[index] if index < 62 else entries[index - 62]  # type: ignore[misc]
            elif byte & 0xE0 == 0x20:
                if total:
                    raise ValueError("a table size within the fields")
                at = self._resize(block, at, byte)
                continue
            else:
                (pair, kind, size), at = self._literal(block, at, byte)
            total += size
            if total > most:
                continue
            if kind:
                if kind <= AUTHORITY:
                    if kind in kinds or pseudo != len(pairs):
                        wrong = "a pseudo-header twice or behind the others"
                    pseudo += 1
                elif kind == BAD:
                    wrong = "a field that requests do not have"
                kinds[kind] = pair[1]
            pairs.append(pair)
        return Headers(pairs, kinds, wrong, total > most)

    def _literal(self, block: bytes, at: int, byte: int) -> tuple[Entry, int]:
        mask = 63 if byte & 0x40 else 15
        index = byte & mask
        if index == mask:
            index, at = integer(block, at, mask)
        if index:
            (name, _), kind, _ = STATIC[index] if index < 62 else self._entries[index - 62]  # type: ignore[misc]
            if kind == BAD:  # for its name, or for the value it had
                kind = _kind(name.encode("latin-1"))
        else:
            raw, at = text(block, at)
            name, kind = self._names.get(raw) or self._named(raw)
        length = block[at]
        if length < 127:  # the usual case of `text`, without a call
            value = block[at + 1 : at + 1 + length]
            at += 1 + length
            if at > len(block):
                raise ValueError("a text longer than its block")
        else:
            value, at = text(block, at)
        if 10 in value or 13 in value or 0 in value:  # numbers are looked for much faster than bytes
            kind = BAD
        entry = ((name, value), kind, ENTRY_BYTES + len(name) + len(value))
        if byte & 0x40:
            self._insert(entry)
        return entry, at

    def _named(self, raw: bytes) -> tuple[str, int]:
        if len(self._names) >= MOST_REMEMBERED:
            self._names.clear()
        found = (raw.decode("latin-1"), _kind(raw))
        if len(raw) <= LONGEST_NAME:
            self._names[raw] = found
        return found

    def _insert(self, entry: Entry) -> None:
        self._changed = True
        self._bytes += entry[2]
        self._entries.appendleft(entry)
        if self._bytes > self._room:
            self._evict()

    def _evict(self) -> None:
        while self._bytes > self._room:
            self._bytes -= self._entries.pop()[2]

    def _resize(self, block: bytes, at: int, byte: int) -> int:
        size = byte & 31
        if size == 31:
            size, at = integer(block, at, 31)
        if size > self._most_table:
            raise ValueError("a larger table than we allow")
        self._changed, self._room = True, size
        self._evict()
        return at


def integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full, and where it ends. Raises ValueError, IndexError."""
    value = prefix
    for shift in range(0, 7 * LONGEST_INTEGER, 7):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("an integer without an end")


def text(block: bytes, at: int) -> tuple[bytes, int]:
    """A text, and where it ends. Raises ValueError, IndexError."""
    byte = block[at]
    length = byte & 127
    at += 1
    if length == 127:
        length, at = integer(block, at, 127)
    end = at + length
    if end > len(block):
        raise ValueError("a text longer than its block")
    raw = block[at:end]
    return (huffman.decode(raw) if byte > 127 else raw), end


def field(name: bytes, value: bytes) -> bytes:
    """A field without an index, as we write all of ours.

    >>> field(b"grpc-status", b"0").hex()
    '000b677270632d7374617475730130'
    """
    return b"".join((b"\0", _length(len(name)), name, _length(len(value)), value))


def _length(size: int) -> bytes:
    if size < 127:
        return bytes((size,))
    size -= 127
    found = bytearray((127,))
    while size > 127:
        found.append(size & 127 | 128)
        size >>= 7
    found.append(size)
    return bytes(found)
