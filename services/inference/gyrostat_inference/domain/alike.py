"""Requests of one row that are written alike, taken together: what a busy spool is mostly made of.

Each by itself costs the shipper several µs; as a table of bytes, a line an entry, a fraction of one. What stands alone
is an ordinary entry. Made by `usecases.ship`, cut by `domain.frames`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain import entries
from gyrostat_inference.domain.entries import Group, Rows

Table = npt.NDArray[np.uint8]
# Fewer are through before a table of them is made.
FEWEST = 8
_ID, _EVENT, _ARRIVAL, _LATENCY = slice(37, 53), slice(9, 17), slice(17, 25), slice(25, 29)
_FLAGS, _AFTER_HEAD = 29, 53
# What says how an entry is laid out: kind, group and rows, then lengths; and the flags.
_LAYOUT = [*range(9), *range(30, 37)]
_FUTURE = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a line stand."""

    group: int
    request: slice
    trace: slice
    entity: slice
    columns: tuple[slice, ...]

    @property
    def column_bytes(self) -> int:
        widths: list[int] = [column.stop - column.start for column in self.columns]
        return sum(widths)

    @property
    def said_bytes(self) -> int:
        """Of the names beside the columns."""
        said: int = self.entity.stop - self.request.start
        return said


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Entries of one row of one group whose parts have the same lengths, one behind the other."""

    layout: Layout
    table: Table

    @property
    def group(self) -> int:
        return self.layout.group

    @property
    def rows(self) -> int:
        return len(self.table)

    def part(self, start: int, stop: int) -> "Alike":
        return Alike(self.layout, self.table[start:stop])

    def each(self) -> Iterator[Rows]:
        """One by one."""
        return (Rows.decode(line.tobytes(), len(self.layout.columns)) for line in self.table)

    # For all rows, as they stand in a frame.

    @property
    def prediction_ids(self) -> bytes:
        return self.table[:, _ID].tobytes()

    @property
    def event_times(self) -> bytes:
        return self.table[:, _EVENT].tobytes()

    @property
    def arrival_times(self) -> bytes:
        return self.table[:, _ARRIVAL].tobytes()

    @property
    def latencies(self) -> bytes:
        return self.table[:, _LATENCY].tobytes()

    @property
    def futures(self) -> list[bool]:
        return [flag & _FUTURE != 0 for flag in self.table[:, _FLAGS].tobytes()]

    @property
    def request_ids(self) -> list[bytes]:
        return self._texts(self.layout.request)

    @property
    def traces(self) -> list[bytes]:
        return self._texts(self.layout.trace)

    @property
    def entities(self) -> list[bytes]:
        return self._texts(self.layout.entity)

    def columns(self) -> list[bytes]:
        return [self.table[:, column].tobytes() for column in self.layout.columns]

    def _texts(self, place: slice) -> list[bytes]:
        width = place.stop - place.start
        if not width:
            return [b""] * self.rows
        joined = self.table[:, place].tobytes()
        return [joined[at : at + width] for at in range(0, len(joined), width)]


def alike(table: Table, groups: Mapping[int, Group]) -> list[Alike | bytes]:
    """Payloads of one length, parted where they stop being alike; those that stand alone come as they are, whatever
    they say.
    """
    if table.shape[1] < _AFTER_HEAD:
        return [line.tobytes() for line in table]
    layouts = table[:, _LAYOUT]
    breaks = np.flatnonzero((layouts[1:] != layouts[:-1]).any(axis=1)) + 1
    parts: list[Alike | bytes] = []
    for start, stop in pairwise([0, *breaks.tolist(), len(table)]):
        lines = table[start:stop]
        layout = _layout(lines, groups) if stop - start >= FEWEST else None
        parts += [line.tobytes() for line in lines] if layout is None else [Alike(layout, lines)]
    return parts


def _layout(lines: Table, groups: Mapping[int, Group]) -> Layout | None:
    """That of the first line, if it is one row of a known group as a whole, and the others are laid out like it."""
    first = lines[0].tobytes()
    kind, number, rows = first[0], int.from_bytes(first[1:5], "little"), int.from_bytes(first[5:9], "little")
    group = groups.get(number)
    if kind != entries.ROWS or rows != 1 or group is None or (lines[:, _FLAGS] > _FUTURE).any():
        return None
    lengths = np.frombuffer(first[30:37], [("request", "<u2"), ("trace", "u1"), ("entity", "<u4")])[0].tolist()
    request, trace, entity = _side_by_side(_AFTER_HEAD, lengths)
    count = len(group.inputs) + len(group.outputs)
    after = entity.stop + 4 * count
    if after > len(first):
        return None
    sizes = lines[:, entity.stop : after]
    columns = _side_by_side(after, np.frombuffer(first[entity.stop : after], "<u4").tolist())
    if (sizes != sizes[0]).any() or (columns[-1].stop if columns else after) != len(first):
        return None
    return Layout(number, request, trace, entity, tuple(columns))


def _side_by_side(start: int, lengths: list[int]) -> list[slice]:
    return [slice(one, following) for one, following in pairwise(accumulate(lengths, initial=start))]
