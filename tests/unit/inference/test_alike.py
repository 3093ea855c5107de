"""Entries that are read together say what they would have said one by one."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.domain.alike import FEWEST, Alike, alike
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number
from gyrostat_inference.domain.entries import ColumnSpec, Counted, Group, Rows, decode
from gyrostat_inference.domain.frames import cut
from gyrostat_inference.events.frames import frame_message

TEXT = ColumnSpec("t", "BYTES")
GROUPS = {
    number: Group("production", "m", number, 1, "champion", 7, "", (ColumnSpec("x", "INT64"),), (TEXT,))
    for number in (1, 2)
}


def a_row(n: int, group: int = 1, text: bytes = b"text", **fields: object) -> Rows:
    given = {
        "group": group, "rows": 1, "event_time_us": n, "arrival_us": n + 1, "latency_us": n + 2, "future": False,
        "prediction_id": n.to_bytes(16, "big"), "request_id": b"r%04d" % n, "traceparent": b"", "entities": b"",
        "entity_by_row": False, "columns": [struct.pack("<q", n), len(text).to_bytes(4, "little") + text],
    }  # fmt: skip
    return Rows(**(given | fields))  # type: ignore[arg-type]


def table(payloads: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), -1)


def together(payloads: list[bytes]) -> list[tuple[int, Rows | Alike]]:
    """As the shipper reads them: what stands side by side and is of one length at once."""
    found: list[tuple[int, Rows | Alike]] = []
    sequence, at = 1, 0
    while at < len(payloads):
        end = at
        while end < len(payloads) and len(payloads[end]) == len(payloads[at]):
            end += 1
        for part in alike(table(payloads[at:end]), GROUPS):
            said = decode(part, GROUPS) if isinstance(part, bytes) else part
            assert isinstance(said, Rows | Alike)
            found.append((sequence, said))
            sequence += said.rows
        at = end
    return found


def messages(entries: list[tuple[int, Rows | Alike]], most_rows: int) -> list[bytes]:
    frames, large = cut(entries, GROUPS, most_rows)
    said = [
        frame_message(frame, Number("m", 0, n), Cut(1, 9, 5), Books("s"), "r").SerializeToString(deterministic=True)
        for n, frame in enumerate(frames)
    ]
    return [*said, *large.values()]


KINDS = st.sampled_from(
    [
        {},
        {"group": 2},
        {"future": True},
        {"request_id": b"longer than others"},
        {"entities": b"someone"},
        {"traceparent": b"00-" + b"a" * 52},
        {"text": b"TEXT of another length"},
    ]
)


@given(st.lists(st.tuples(KINDS, st.integers(1, 40)), min_size=1, max_size=12), st.sampled_from([1, 7, 50, 2048]))
def test_frames_are_the_same_whether_entries_were_read_together_or_one_by_one(runs, most_rows: int):
    rows = [(kind, n) for kind, count in runs for n in range(count)]
    entries = [a_row(n, **kind) for n, (kind, _) in enumerate(rows)]
    apart: list[tuple[int, Rows | Alike]] = [(1 + n, entry) for n, entry in enumerate(entries)]
    assert messages(together([entry.encode() for entry in entries]), most_rows) == messages(apart, most_rows)


def test_wide_rows_fill_frames_and_go_out_by_digest_as_they_do_one_by_one():
    for width in (30_000, 70_000):
        entries = [a_row(n, text=b"t" * width) for n in range(20)]
        found = together([entry.encode() for entry in entries])
        assert [type(entry) for _, entry in found] == [Alike]
        assert messages(found, 2048) == messages([(1 + n, entry) for n, entry in enumerate(entries)], 2048)


def test_many_that_are_alike_are_taken_as_one():
    (part,) = alike(table([a_row(n).encode() for n in range(100)]), GROUPS)
    assert isinstance(part, Alike)
    assert [*part.each()] == [a_row(n) for n in range(100)]


def test_what_is_no_row_of_a_known_group_is_left_to_be_looked_at_one_by_one():
    few, unknown = [a_row(1).encode()] * (FEWEST - 1), [a_row(1, group=3).encode()] * 20
    counts, two = [Counted(1, "r" * 60).encode()] * 20, [a_row(1, rows=2).encode()] * 20
    by_row = [a_row(1, entities=b"\1\0\0\0e", entity_by_row=True).encode()] * 20
    short = [b"\1\0\0"] * 20
    broken = [a_row(1).encode()[:-1]] * 20
    no_room = [a_row(1, columns=[]).encode()] * 20
    for payloads in (few, unknown, counts, two, by_row, short, broken, no_room):
        assert alike(table(payloads), GROUPS) == payloads


LINE = a_row(1).encode()


@given(st.lists(st.tuples(st.integers(0, len(LINE) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(LINE)))
def test_whatever_stands_in_alike_lines_comes_back(changes: list[tuple[int, int]], size: int):
    line = bytearray(LINE)
    for place, value in changes:
        line[place] = value
    payloads = [bytes(line[:size])] * FEWEST if size else [bytes(line)] * FEWEST
    back = []
    for part in alike(table(payloads), GROUPS):
        back += [part] if isinstance(part, bytes) else [row.encode() for row in part.each()]
    assert back == payloads
