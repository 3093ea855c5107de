"""HPACK (RFC 7541). Reads the blocks of one connection; writes ours without an index, so that they never change.

The same bytes mean the same fields for as long as the dynamic table does not change. So whole blocks are remembered,
and the beginnings that blocks have in common, behind which each has fields of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from gyrostat_front import huffman
from gyrostat_front.frames import COMPRESSION_ERROR, Violation
from gyrostat_front.headers import AUTHORITY, BAD, BINARY, KINDS, PLAIN, TIMEOUT, Continued, Headers, Pair

Entry = tuple[Pair, int, int]
"""Name and value, kind, size as RFC 7541 counts it."""
TABLE_BYTES = 4096
ENTRY_BYTES = 32
MOST_REMEMBERED, LONGEST_REMEMBERED, LONGEST_NAME, LONGEST_INTEGER = 64, 512, 64, 5
MOST_STARTS, MOST_TEXTS, LONGEST_START = 4, 4, 4096
MOST_CHANGES = 16
"""Blocks in a row that change the table, until it does more harm than good."""
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
    if not _NAME.fullmatch(name) or name[:1] == b":":
        return BAD
    return BINARY if name.endswith(b"-bin") else PLAIN


def _entry(name: str, value: bytes, kind: int) -> Entry:
    return (name, value), kind, ENTRY_BYTES + len(name) + len(value)


STATIC: tuple[Entry | None, ...] = (
    None,  # there is no index 0
    *(_entry(n, v.encode(), _kind(n.encode())) for n, _, v in (one.partition("=") for one in _STATIC_TEXT.split(";"))),
)


class Start(NamedTuple):
    """How blocks begin: what was read of these bytes, a plain request, in so many fields of so many bytes as RFC 7541
    counts them."""

    raw: bytes = b""
    headers: Headers | None = None
    fields: int = 0
    size: int = 0


_NOTHING = Start()


class Decoder:
    """The reading side of one connection. `memo` is valid at any time; callers may look into it first."""

    def __init__(self, most_list_bytes: int = 16_384, most_table_bytes: int = TABLE_BYTES) -> None:
        self._most_list, self._most_table = most_list_bytes, most_table_bytes
        self._entries: deque[Entry] = deque()
        self._bytes, self._room = 0, most_table_bytes
        self._names: dict[bytes, tuple[str, int]] = {}
        self._texts: dict[bytes, bytes] = {}
        self._changed, self._changes = False, 0
        self.restless = False
        """The peer had better do without the table: its blocks change it, each in a row of many."""
        self._seen: set[int] = set()
        self._ends: list[int] = []
        """Where the fields of the last block end."""
        self._last: dict[bytes, bytes] = {}
        """The last block of a path, of those that began with none of `starts`."""
        self._starts: list[Start] = []
        self.memo: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The fields of a whole block. Raises Violation: after that the connection's table is unknown."""
        known = self.memo.get(block)
        if known is not None:
            return known
        self._changed, start = False, _NOTHING
        for one in self._starts:
            if block.startswith(one.raw):
                start = one
                break
        try:
            headers = self._read(block, start)
        # An index or a length that points outside, index 0, a Huffman text that is none.
        except (IndexError, TypeError, ValueError) as error:
            raise Violation(COMPRESSION_ERROR, "a header block that cannot be decoded") from error
        if self._changed:
            self._forget()
            self._changes += 1
            if self._changes == MOST_CHANGES:
                self.restless = True
            return headers
        self._changes = 0
        self._remember(block, headers)
        if start is _NOTHING and not headers.wrong and not headers.large:
            self._learn(block, headers.path)
        return headers

    def rest(self) -> None:
        """Forgets what it remembers, which is no part of the protocol's state."""
        self._forget()
        self._names.clear()
        self._texts.clear()
        self._seen.clear()

    def _forget(self) -> None:
        self.memo.clear()
        self._starts.clear()
        self._last.clear()

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

    def _learn(self, block: bytes, path: bytes) -> None:
        """How blocks of this path begin: as this one and the last do, up to the end of a field, when that is a plain
        request by itself."""
        if len(block) > LONGEST_START:
            return
        last, ends = self._last.get(path, b""), self._ends.copy()
        if not last and len(self._last) >= MOST_STARTS:
            self._last.clear()
        self._last[path] = block
        fields = bisect_left(ends, True, key=lambda end: not last.startswith(block[:end]))
        if not fields:
            return
        raw = block[: ends[fields - 1]]
        headers = self._read(raw, _NOTHING)
        if headers.odd:
            return
        if len(self._starts) >= MOST_STARTS:
            self._starts.clear()
        size = sum(ENTRY_BYTES + len(name) + len(value) for name, value in headers.pairs)
        self._starts.append(Start(raw, headers, fields, size))

    def _read(self, block: bytes, start: Start) -> Headers:  # noqa: C901, PLR0912 - calls would double what it costs
        raw, began, before, total = start
        at, end, pseudo, most = len(raw), len(block), 0, self._most_list
        entries, ends, wrong = self._entries, self._ends, ""
        ends.clear()
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
                    if kind in kinds or pseudo != before + len(pairs):
                        wrong = "a pseudo-header twice or behind the others"
                    pseudo += 1
                elif kind == BAD:
                    wrong = "a field that requests do not have"
                kinds[kind] = pair[1]
            pairs.append(pair)
            ends.append(at)
        if began is None:
            return Headers(pairs, kinds, wrong, total > most)
        if wrong or total > most or len(kinds) > (TIMEOUT in kinds):
            return Headers(began.pairs + pairs, began.kinds | kinds, wrong, total > most)
        return Continued(began, pairs, kinds.get(TIMEOUT))

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
            behind = at + 1 + (block[at] & 127)
            known = self._names.get(block[at:behind])
            if known is None:
                known, behind = self._named(block, at)
            name, kind = known
            at = behind
        length = block[at]
        if length & 127 < 127:  # the usual case of `text`, without a call
            begin, at = at + 1, at + 1 + (length & 127)
            value = block[begin:at]
            if at > len(block):
                raise ValueError("a text longer than its block")
            if length > 127:
                value = huffman.decode(value)
        else:
            value, at = self._long(block, at)
        if 10 in value or 13 in value or 0 in value:  # numbers are looked for much faster than bytes
            kind = BAD
        entry = ((name, value), kind, ENTRY_BYTES + len(name) + len(value))
        if byte & 0x40:
            self._insert(entry)
        return entry, at

    def _long(self, block: bytes, at: int) -> tuple[bytes, int]:
        """A long value, and where it ends: often a token, the same in each request."""
        if block[at] < 128:
            return text(block, at)
        length, at = integer(block, at + 1, 127)
        raw = block[at : at + length]
        if len(raw) < length:
            raise ValueError("a text longer than its block")
        value = self._texts.get(raw)
        if value is None:
            value = huffman.decode(raw)
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            if length <= LONGEST_START:
                self._texts[raw] = value
        return value, at + length

    def _named(self, block: bytes, at: int) -> tuple[tuple[str, int], int]:
        """A name that is not known yet, its kind, and where it ends."""
        if len(self._names) >= MOST_REMEMBERED:
            self._names.clear()
        raw, behind = text(block, at)
        found = (raw.decode("latin-1"), _kind(raw))
        if behind - at <= LONGEST_NAME:
            self._names[block[at:behind]] = found
        return found, behind

    def _insert(self, entry: Entry) -> None:
        if entry[2] > self._room and not self._entries:
            return  # as with a table of size 0: nothing was there, nothing is
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
        if size != self._room:
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
