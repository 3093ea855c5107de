"""From entries to frames: a cut is a range of the spool, and the frames of a cut follow from it alone.

That is what makes a resend identical: the cut's end and its first frame numbers are written down before the first
send, and cutting the same range again gives the same frames. Used by `usecases.ship`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import NamedTuple

from gyrostat_inference.domain.alike import Alike
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows

FRAME_ROWS, FRAME_BYTES, ROW_BYTES = 2048, 256 * 1024, 64 * 1024
SMALL_FRAME_ROWS = 256

_WHOLE: frozenset[int] = frozenset()
_BESIDE = 48  # bytes of ids and times of a row
_WIDTH = {
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 1),
    **dict.fromkeys(("INT16", "UINT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("INT32", "UINT32", "FP32"), 4),
    **dict.fromkeys(("INT64", "UINT64", "FP64"), 8),
}


class Piece(NamedTuple):
    """Rows of one entry, or of entries that are alike, that lie side by side in a frame; a tuple, because most requests
    are one.
    """

    digested: frozenset[int]  # places of columns that hold digests instead of values
    entry: Rows | Alike
    first_row: int
    first_sequence: int

    @property
    def last_sequence(self) -> int:
        return self.first_sequence + self.entry.rows - 1


@dataclass(frozen=True, slots=True)
class Frame:
    """What one record of prediction.logged holds, before it is numbered."""

    group: Group
    digested: frozenset[int]
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        return sum(piece.entry.rows for piece in self.pieces)

    @property
    def first_sequence(self) -> int:
        return self.pieces[0].first_sequence

    @property
    def last_sequence(self) -> int:
        return self.pieces[-1].last_sequence


class _Open:
    """A frame that is being filled."""

    __slots__ = ("pieces", "rows", "size")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.rows = self.size = 0


def rows_a_frame(rows: int, partitions: int) -> int:
    """Most rows of a frame in a range of so many: few enough for a frame on each partition, unless frames get small.

    Who reads all partitions knows only what the one that is furthest behind has told: one without a frame holds it up.
    """
    return max(SMALL_FRAME_ROWS, min(FRAME_ROWS, -(-rows // partitions)))


def cut(
    entries: Iterable[tuple[int, Rows | Alike]], groups: Mapping[int, Group], most_rows: int = FRAME_ROWS
) -> tuple[list[Frame], dict[str, bytes]]:
    """The frames of a range, and the values that go to the artifact store by their digest.

    `entries` are (sequence number of the first row, rows). Rows of a group stay in order; a frame holds at most
    `most_rows` rows and about FRAME_BYTES. Groups come in the order of their first row. Whether entries were read one
    by one or as alike makes no difference to the frames.
    """
    cutting = _Cutting(groups, most_rows)
    for first_sequence, entry in entries:
        if isinstance(entry, Rows):
            cutting.add(first_sequence, entry)
        elif entry.layout.column_bytes <= ROW_BYTES and _line_size(entry) <= FRAME_BYTES:
            cutting.add_alike(first_sequence, entry)
        else:
            for place, one in enumerate(entry.each()):
                cutting.add(first_sequence + place, one)
    return cutting.finished(), cutting.large


class _Cutting:
    """Frames of one range while they are being filled."""

    def __init__(self, groups: Mapping[int, Group], most_rows: int) -> None:
        self._groups, self._most_rows = groups, most_rows
        self._open: dict[tuple[int, frozenset[int]], _Open] = {}
        self._frames: list[Frame] = []
        self._keys = {number: (number, _WHOLE) for number in groups}
        self.large: dict[str, bytes] = {}

    def finished(self) -> list[Frame]:
        return self._frames + [_frame(self._groups[key[0]], filling) for key, filling in self._open.items()]

    def add(self, first_sequence: int, entry: Rows) -> None:
        columns = sum(map(len, entry.columns))
        size = columns + _beside_columns(entry)
        if entry.rows <= self._most_rows and columns <= ROW_BYTES and size <= FRAME_BYTES:
            return self._put(self._keys[entry.group], Piece(_WHOLE, entry, 0, first_sequence), size)
        for piece, part in _split(self._groups[entry.group], first_sequence, entry, self.large, self._most_rows):
            self._put((entry.group, piece.digested), piece, size_of(part))

    def add_alike(self, first_sequence: int, entry: Alike) -> None:
        key, size, start = self._keys[entry.group], _line_size(entry), 0
        while start < entry.rows:
            filling = self._open.get(key)
            rows, filled = (filling.rows, filling.size) if filling is not None else (0, 0)
            fit = min(self._most_rows - rows, (FRAME_BYTES - filled) // size)
            if fit <= 0:  # a fresh frame
                fit = min(self._most_rows, FRAME_BYTES // size)
            stop = min(entry.rows, start + fit)
            part = entry.part(start, stop)
            self._put(key, Piece(_WHOLE, part, 0, first_sequence + start), size * part.rows)
            start = stop

    def _put(self, key: tuple[int, frozenset[int]], piece: Piece, size: int) -> None:
        rows, filling = piece.entry.rows, self._open.get(key)
        if filling is not None and (filling.rows + rows > self._most_rows or filling.size + size > FRAME_BYTES):
            self._frames.append(_frame(self._groups[key[0]], self._open.pop(key)))
            filling = None
        if filling is None:
            filling = self._open[key] = _Open()
        filling.pieces.append(piece)
        filling.rows += rows
        filling.size += size


def _line_size(entry: Alike) -> int:
    """What each of them takes in a frame."""
    return entry.layout.column_bytes + entry.layout.said_bytes + _BESIDE


def size_of(entry: Rows) -> int:
    """What its rows take in a frame."""
    return sum(map(len, entry.columns)) + _beside_columns(entry)


def _beside_columns(entry: Rows) -> int:
    return (len(entry.entities) if entry.entity_by_row else 0) + entry.rows * _said_by_row(entry)


def _said_by_row(entry: Rows) -> int:
    """Bytes that every row has beside its columns: ids, times, and names that the entry says once."""
    return (
        _BESIDE + len(entry.request_id) + len(entry.traceparent) + (0 if entry.entity_by_row else len(entry.entities))
    )


def _frame(group: Group, filled: _Open) -> Frame:
    return Frame(group, filled.pieces[0].digested, tuple(filled.pieces))


def _split(
    group: Group, first_sequence: int, entry: Rows, large: dict[str, bytes], most_rows: int
) -> list[tuple[Piece, Rows]]:
    """The slow way, for a request that is too large for a frame or may hold a row above ROW_BYTES."""
    specs = (*group.inputs, *group.outputs)
    cells = [row_cells(spec, raw, entry.rows) for spec, raw in zip(specs, entry.columns, strict=True)]
    digested = _too_large(cells)
    for place in digested:
        cells[place] = [_by_digest(cell, large) for cell in cells[place]]
    entities = row_cells(ColumnSpec("", "BYTES"), entry.entities, entry.rows) if entry.entity_by_row else []
    pieces: list[tuple[Piece, Rows]] = []
    start = 0
    said = _said_by_row(entry)
    sizes = [
        said + sum(len(column[row]) for column in [*cells, *([entities] if entities else [])])
        for row in range(entry.rows)
    ]
    while start < entry.rows:
        stop, total = start, 0
        while stop < entry.rows and stop - start < most_rows and (total + sizes[stop] <= FRAME_BYTES or stop == start):
            total += sizes[stop]
            stop += 1
        part = entry._replace(
            rows=stop - start,
            columns=[b"".join(column[start:stop]) for column in cells],
            entities=b"".join(entities[start:stop]) if entry.entity_by_row else entry.entities,
        )
        pieces.append((Piece(digested, part, start, first_sequence + start), part))
        start = stop
    return pieces


def _too_large(cells: Sequence[Sequence[bytes]]) -> frozenset[int]:
    """The fewest columns, widest first, without which every row is at most ROW_BYTES."""
    if not cells or max(map(sum, zip(*(map(len, column) for column in cells), strict=True))) <= ROW_BYTES:
        return frozenset()
    widest = sorted(range(len(cells)), key=lambda place: -max(map(len, cells[place])))
    totals = list(accumulate((max(map(len, cells[place])) for place in reversed(widest)), initial=0))
    keep = max((n for n, total in enumerate(totals) if total + (len(cells) - n) * 68 <= ROW_BYTES), default=0)
    return frozenset(widest[: len(cells) - keep])


def _by_digest(cell: bytes, large: dict[str, bytes]) -> bytes:
    digest = hashlib.sha256(cell).hexdigest()
    large[digest] = cell
    return len(digest).to_bytes(4, "little") + digest.encode()


def row_cells(spec: ColumnSpec, raw: bytes, rows: int) -> list[bytes]:
    """A column's bytes, a piece per row."""
    if spec.datatype != "BYTES":
        width = _WIDTH[spec.datatype] * prod(spec.shape)
        return [raw[row * width : (row + 1) * width] for row in range(rows)]
    per_row, cells, at = prod(spec.shape), [], 0
    for _ in range(rows):
        start = at
        for _ in range(per_row):
            at += 4 + int.from_bytes(raw[at : at + 4], "little")
        cells.append(raw[start:at])
    return cells
