"""From entries to frames: a cut is a range of the spool, and the frames of a cut follow from it alone.

That is what makes a resend identical: the cut's end and its first frame numbers are written down before the first
send, and cutting the same range again gives the same frames. Used by `usecases.ship`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows

FRAME_ROWS, FRAME_BYTES, ROW_BYTES = 256, 256 * 1024, 64 * 1024

_WIDTH = {
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 1),
    **dict.fromkeys(("INT16", "UINT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("INT32", "UINT32", "FP32"), 4),
    **dict.fromkeys(("INT64", "UINT64", "FP64"), 8),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one entry that lie side by side in a frame."""

    group: Group
    digested: frozenset[int]  # places of columns that hold digests instead of values
    entry: Rows
    first_row: int
    first_sequence: int

    @property
    def last_sequence(self) -> int:
        return self.first_sequence + self.entry.rows - 1

    @property
    def size(self) -> int:
        entities = len(self.entry.entities) if self.entry.entity_by_row else 0
        return sum(map(len, self.entry.columns)) + entities + self.entry.rows * _said_by_row(self.entry)


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


def cut(entries: Iterable[tuple[int, Rows]], groups: Mapping[int, Group]) -> tuple[list[Frame], dict[str, bytes]]:
    """The frames of a range, and the values that go to the artifact store by their digest.

    `entries` are (sequence number of the first row, rows). Rows of a group stay in order; a frame holds at most
    FRAME_ROWS rows and about FRAME_BYTES. Groups come in the order of their first row.
    """
    open_frames: dict[tuple[int, frozenset[int]], list[Piece]] = {}
    filled: dict[tuple[int, frozenset[int]], tuple[int, int]] = {}
    frames: list[Frame] = []
    large: dict[str, bytes] = {}
    for first_sequence, entry in entries:
        for piece in _pieces(groups[entry.group], first_sequence, entry, large):
            key = (entry.group, piece.digested)
            rows, size = filled.get(key, (0, 0))
            if rows and (rows + piece.entry.rows > FRAME_ROWS or size + piece.size > FRAME_BYTES):
                frames.append(_frame(open_frames.pop(key)))
                rows = size = 0
            open_frames.setdefault(key, []).append(piece)
            filled[key] = (rows + piece.entry.rows, size + piece.size)
    frames += map(_frame, open_frames.values())
    return frames, large


def _said_by_row(entry: Rows) -> int:
    """Bytes that every row has beside its columns: ids, times, and names that the entry says once."""
    return 48 + len(entry.request_id) + len(entry.traceparent) + (0 if entry.entity_by_row else len(entry.entities))


def _frame(pieces: Sequence[Piece]) -> Frame:
    return Frame(pieces[0].group, pieces[0].digested, tuple(pieces))


def _pieces(group: Group, first_sequence: int, entry: Rows, large: dict[str, bytes]) -> list[Piece]:
    whole = Piece(group, frozenset(), entry, 0, first_sequence)
    if entry.rows <= FRAME_ROWS and sum(map(len, entry.columns)) <= ROW_BYTES and whole.size <= FRAME_BYTES:
        return [whole]
    return _split(group, first_sequence, entry, large)


def _split(group: Group, first_sequence: int, entry: Rows, large: dict[str, bytes]) -> list[Piece]:
    """The slow way, for a request that is too large for a frame or may hold a row above ROW_BYTES."""
    specs = (*group.inputs, *group.outputs)
    cells = [row_cells(spec, raw, entry.rows) for spec, raw in zip(specs, entry.columns, strict=True)]
    digested = _too_large(cells)
    for place in digested:
        cells[place] = [_by_digest(cell, large) for cell in cells[place]]
    entities = row_cells(ColumnSpec("", "BYTES"), entry.entities, entry.rows) if entry.entity_by_row else []
    pieces, start = [], 0
    said = _said_by_row(entry)
    sizes = [
        said + sum(len(column[row]) for column in [*cells, *([entities] if entities else [])])
        for row in range(entry.rows)
    ]
    while start < entry.rows:
        stop, total = start, 0
        while stop < entry.rows and stop - start < FRAME_ROWS and (total + sizes[stop] <= FRAME_BYTES or stop == start):
            total += sizes[stop]
            stop += 1
        part = entry._replace(
            rows=stop - start,
            columns=[b"".join(column[start:stop]) for column in cells],
            entities=b"".join(entities[start:stop]) if entry.entity_by_row else entry.entities,
        )
        pieces.append(Piece(group, digested, part, start, first_sequence + start))
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
