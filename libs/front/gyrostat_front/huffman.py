"""The Huffman code of HPACK (RFC 7541, appendix B): short texts a byte at a time through a table that fills as it is
used, longer ones by zlib.

The code is canonical, as deflate's (RFC 1951) are: the lengths say all of it. Deflate's have at most 15 bits; so have
those of all that is common, and of the others each begins with the 15 ones that end a block.
"""

from __future__ import annotations

import zlib
from typing import Any

LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Bits of each byte's code, and of the end's, which must never come: its first bits are the padding."""
END = 256
LONGEST_PADDING = 7
SHORT_BYTES = 20
LONGEST_OF_DEFLATE = 15
_Row = list[Any]
"""Where a byte leads from one node of the tree: 256 times (bytes read, next row) or None, and the node's number."""


def codes() -> list[tuple[int, int]]:
    """Code and its bits, for each byte and END."""
    found = [(0, 0)] * len(LENGTHS)
    code = bits = 0
    for length, sign in sorted((length, sign) for sign, length in enumerate(LENGTHS)):
        code, bits = code << (length - bits), length
        found[sign] = (code, bits)
        code += 1
    return found


def _tree() -> list[list[int]]:
    """For each inner node what a 0 and a 1 lead to: an inner node, or ~sign."""
    nodes = [[0, 0]]
    for sign, (code, bits) in enumerate(codes()):
        node = 0
        for bit in range(bits - 1, 0, -1):
            side = code >> bit & 1
            if not nodes[node][side]:
                nodes[node][side] = len(nodes)
                nodes.append([0, 0])
            node = nodes[node][side]
        nodes[node][code & 1] = ~sign
    return nodes


_NODES = _tree()
_ROWS: list[_Row] = [[None] * 256 + [node] for node in range(len(_NODES))]


def _endings() -> set[int]:
    """Nodes at which a text may end: after no bit, or after up to seven ones of padding."""
    node, found = 0, {0}
    for _ in range(LONGEST_PADDING):
        node = _NODES[node][1]
        found.add(node)
    return found


_ENDINGS = _endings()


def _step(row: _Row, byte: int) -> Any:
    """Fills a place of the table."""
    node, read = row[256], bytearray()
    for bit in range(7, -1, -1):
        node = _NODES[node][byte >> bit & 1]
        if node < 0:
            if ~node == END:
                raise ValueError("the end's code within a text")
            read.append(~node)
            node = 0
    row[byte] = bytes(read), _ROWS[node]
    return row[byte]


def _deflated() -> bytes:
    """What stands before a text that deflate is to read: the lengths, four bits each, behind an empty block that makes
    them end with a byte."""

    def number(value: int, bits: int) -> str:
        return f"{value:0{bits}b}"[::-1]

    known = [length if length <= LONGEST_OF_DEFLATE else 0 for length in LENGTHS[:END]]
    lengths = [*known, LONGEST_OF_DEFLATE, 1, 1]  # of the bytes, of a block's end, of two distances that never come
    empty = number(0, 1) + number(1, 2) + number(0, 7)
    begins = number(1, 1) + number(2, 2) + number(0, 5) + number(1, 5) + number(15, 4)
    four_bits_each = number(0, 3) * 3 + number(4, 3) * 16
    bits = empty + begins + four_bits_each + "".join(f"{length:04b}" for length in lengths)
    return int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")


_DEFLATE = zlib.decompressobj(-zlib.MAX_WBITS)
_DEFLATE.decompress(_deflated())
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BLOCK_END = bytes((0xFF, 0x7F))
"""With up to seven ones of padding before them, fifteen ones and at most eight bits more."""


def decode(raw: bytes) -> bytes:
    """The text. Raises ValueError for the end's code and for padding that is none."""
    if len(raw) > SHORT_BYTES:
        reading = _DEFLATE.copy()
        found = reading.decompress(raw.translate(_REVERSED) + _BLOCK_END)
        # Else there is a long code, or padding that is none.
        if reading.eof and len(reading.unused_data) < 2 and raw[-1] != 0xFF:
            return found
    return by_table(raw)


def by_table(raw: bytes) -> bytes:
    """The same, whatever the length."""
    row, read = _ROWS[0], []
    for byte in raw:
        text, row = row[byte] or _step(row, byte)
        read.append(text)
    if row[256] not in _ENDINGS:
        raise ValueError("padding that is none")
    return b"".join(read)
