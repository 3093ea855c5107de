"""Segment files of a spool: their names, their framing, and reading them while another process still writes.

File: magic, last sequence number before it. Entry: payload length u32, crc32c u32 of (sequence, payload), sequence
number u64 of its last row, payload. Written by `store.spool`, read by the shipper.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

MAGIC = b"GYROSPL1"
FILE_HEAD = struct.Struct("<8sQ")
ENTRY_HEAD = struct.Struct("<IIQ")
_HEADS = np.dtype([("size", "<u4"), ("checksum", "<u4"), ("sequence", "<u8")])
_BEFORE_CHECKED, _SEQUENCE = struct.Struct("<II"), struct.Struct("<Q")  # the two halves of a head
_CHUNK = 1 << 20
# After so many entries of one length more are looked for; so few in a row are not worth a table, and so many are
# looked at together: beyond that a run that ends soon would cost a look at all that is there.
_LIKE, _MANY, _MOST = 3, 16, 2048
_NOWHERE = 2**63  # beyond all sequence numbers


def frame(sequence: int, payload: bytes) -> bytes:
    """An entry as it stands in the file."""
    checked = _SEQUENCE.pack(sequence) + payload
    return _BEFORE_CHECKED.pack(len(payload), google_crc32c.value(checked)) + checked


def path_of(folder: Path, base: int) -> Path:
    """The segment that begins after sequence number `base`."""
    return folder / f"{base:020d}.seg"


def bases(folder: Path) -> list[int]:
    """Where the folder's segments begin, in order."""
    return sorted(int(name[:-4]) for name in os.listdir(folder) if name.endswith(".seg"))


class Entry(NamedTuple):
    """`sequence` is the number of its last row, `before` that of the last row in front of it.

    With a `table` it is many entries of one row each and of one length: a line is a payload, and there is no other.
    """

    sequence: int
    before: int
    payload: bytes
    table: npt.NDArray[np.uint8] | None = None

    def parted(self, sequence: int) -> "tuple[Entry, Entry]":
        """Of many: those up to `sequence`, and the others."""
        assert self.table is not None
        rows = sequence - self.before
        first, second = self.table[:rows], self.table[rows:]
        return Entry(sequence, self.before, b"", first), Entry(self.sequence, sequence, b"", second)


class Segments:
    """Reads a spool from any sequence number on, to the end that is there now; call `read` again for more.

    An entry that is cut off, fails its checksum, goes back in number or beyond where the next segment begins (a block
    of the disk in the wrong place) ends its segment: at the very end of a live spool that means that the writer is not
    through; when a later segment exists, sequence numbers show how many rows are lost.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self._folder = folder
        self._after = after
        known = bases(folder)
        self._base = max((base for base in known if base <= after), default=min(known, default=0))
        self._ends_at = _least_above(known, self._base)
        self._last = self._base
        self._offset = FILE_HEAD.size
        self._file = -1

    @property
    def last(self) -> int:
        """The last sequence number that was read."""
        return max(self._last, self._after)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, at_most: int = _CHUNK) -> list[Entry]:
        """The next entries, about `at_most` bytes of them; empty at the present end.

        Definitions (entries without rows) of the segment that holds `after` come again, its rows do not.
        """
        while True:
            past = self._last >= self._after
            found = self._entries(at_most, together=past)
            entries = found if past else [e for e in found if e.sequence > self._after or e.sequence == e.before]
            if entries or (not found and not self._next_segment()):
                return entries

    def _entries(self, at_most: int, together: bool) -> list[Entry]:
        if self._file < 0:
            try:
                self._file = os.open(path_of(self._folder, self._base), os.O_RDONLY)
            except FileNotFoundError:
                return []
        chunk = os.pread(self._file, at_most, self._offset)
        entries: list[Entry] = []
        at, last, head, like, size_before = 0, self._last, ENTRY_HEAD.size, 0, -1
        while at + head <= len(chunk):
            size, checksum, sequence = ENTRY_HEAD.unpack_from(chunk, at)
            end = at + head + size
            if end > len(chunk):
                if at or not self._longer_than(head + size):
                    break
                chunk = os.pread(self._file, head + size, self._offset)
            if not last <= sequence <= self._ends_at:
                break
            if google_crc32c.value(chunk[at + _BEFORE_CHECKED.size : end]) != checksum:
                break
            entries.append(Entry(sequence, last, chunk[at + head : end]))
            at, last = end, sequence
            like, size_before = like + 1 if size == size_before else 0, size
            if together and like == _LIKE:
                like = 0
                many = _many(chunk, at, size, last, self._ends_at)
                if many is not None:
                    entries.append(many)
                    at, last = at + (many.sequence - last) * (head + size), many.sequence
        self._offset, self._last = self._offset + at, last
        return entries

    def _longer_than(self, size: int) -> bool:
        return os.fstat(self._file).st_size >= self._offset + size

    def _next_segment(self) -> bool:
        known = bases(self._folder)
        following = _least_above(known, self._base)
        if following == _NOWHERE:
            return False
        # Rotated between our read and the look at the folder: what the writer added before is still to be read.
        if self._file >= 0 and self._has_whole_entry():
            return True
        self.close()
        self._base, self._ends_at = following, _least_above(known, following)
        self._last = max(self._last, following)
        self._offset = FILE_HEAD.size
        return True

    def _has_whole_entry(self) -> bool:
        head = os.pread(self._file, ENTRY_HEAD.size, self._offset)
        if len(head) < ENTRY_HEAD.size:
            return False
        size, checksum, sequence = ENTRY_HEAD.unpack(head)
        # A damaged length would ask for gigabytes.
        if not self._last <= sequence <= self._ends_at or not self._longer_than(ENTRY_HEAD.size + size):
            return False
        payload = os.pread(self._file, size, self._offset + ENTRY_HEAD.size)
        return len(payload) == size and bool(google_crc32c.value(_SEQUENCE.pack(sequence) + payload) == checksum)


def _least_above(bases: list[int], base: int) -> int:
    return min((other for other in bases if other > base), default=_NOWHERE)


def _many(chunk: bytes, at: int, size: int, last: int, ends_at: int) -> Entry | None:
    """The entries of this length and one row that follow up to `ends_at`, those that are whole and as they were
    written.
    """
    head = ENTRY_HEAD.size
    whole = head + size
    most = min((len(chunk) - at) // whole, ends_at - last, _MOST)
    if most < _MANY:
        return None
    lines = np.frombuffer(chunk, np.uint8, most * whole, at).reshape(most, whole)
    heads = np.ascontiguousarray(lines[:, :head]).view(_HEADS)[:, 0]
    expected = np.arange(last + 1, last + 1 + len(lines), dtype=np.uint64)
    rows = _until((heads["size"] == size) & (heads["sequence"] == expected))
    if rows < _MANY:
        return None
    start, checked, crc = at + _BEFORE_CHECKED.size, whole - _BEFORE_CHECKED.size, google_crc32c.value
    sums = [crc(chunk[begin : begin + checked]) for begin in range(start, start + rows * whole, whole)]
    rows = _until(np.array(sums, np.uint32) == heads["checksum"][:rows])
    return Entry(last + rows, last, b"", lines[:rows, head:]) if rows else None


def _until(fine: npt.NDArray[np.bool_]) -> int:
    """How many from the first on."""
    return len(fine) if fine.all() else int(fine.argmin())


def last_sequence(folder: Path) -> int:
    """The number of the last whole entry on disk."""
    known = bases(folder)
    if not known:
        return 0
    reader = Segments(folder, known[-1])
    while reader.read():
        pass
    reader.close()
    return reader.last
