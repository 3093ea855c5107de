"""Entries as bytes, and cuts into frames: nothing lost, nothing twice, the same frames again for the same range."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number, Numbering
from gyrostat_inference.domain.entries import ColumnSpec, Counted, Group, NoEntry, Rows, decode, encode_group
from gyrostat_inference.domain.frames import FRAME_BYTES, FRAME_ROWS, ROW_BYTES, cut, rows_a_frame, size_of
from gyrostat_inference.events.frames import frame_message

COLUMNS = (ColumnSpec("x", "FP32", (1,)), ColumnSpec("c", "BYTES", ()))


def a_group(version: int = 4, columns: tuple[ColumnSpec, ...] = COLUMNS) -> Group:
    return Group("production", "flights", version, 1, "champion", 7, "", columns, (ColumnSpec("y", "FP32", ()),))


def some_rows(rows: int, group: int = 1, text: bytes = b"UA", **fields: object) -> Rows:
    given = {
        "group": group,
        "rows": rows,
        "event_time_us": 5,
        "arrival_us": 6,
        "latency_us": 7,
        "future": False,
        "prediction_id": b"p" * 16,
        "request_id": b"r",
        "traceparent": b"",
        "entities": b"",
        "entity_by_row": False,
        "columns": [
            struct.pack(f"<{rows}f", *range(rows)),
            oip.pack_bytes([text] * rows),
            struct.pack(f"<{rows}f", *range(rows)),
        ],
    }
    return Rows(**(given | fields))  # type: ignore[arg-type]


def numbered(*entries: Rows) -> list[tuple[int, Rows]]:
    sequence, placed = 1, []
    for entry in entries:
        placed.append((sequence, entry))
        sequence += entry.rows
    return placed


@given(
    rows=st.integers(1, 300),
    request_id=st.binary(max_size=80),
    trace=st.binary(max_size=55),
    entities=st.binary(max_size=90),
    future=st.booleans(),
    by_row=st.booleans(),
    times=st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.integers(0, 2**32 - 1)),
)
def test_rows_come_back_as_they_were_written(rows, request_id, trace, entities, future, by_row, times):
    entry = some_rows(
        rows,
        request_id=request_id,
        traceparent=trace,
        entities=entities,
        future=future,
        entity_by_row=by_row,
        event_time_us=times[0],
        arrival_us=times[1],
        latency_us=times[2],
    )
    assert decode(entry.encode(), {1: a_group()}) == entry


def test_a_group_is_said_once_and_known_by_its_number():
    groups: dict[int, Group] = {}
    assert decode(encode_group(3, a_group()), groups) is None
    assert groups == {3: a_group()}


@pytest.mark.parametrize("counted", [Counted(12), Counted(3, "full")])
def test_counts_come_back_as_they_were_written(counted: Counted):
    assert decode(counted.encode(), {}) == counted


def test_what_is_no_entry_is_refused():
    with pytest.raises(NoEntry, match="kind 9"):
        decode(b"\x09\0\0\0\0", {})


@pytest.mark.parametrize(
    ("rows", "most"), [(1, 256), (7 * 256, 256), (7 * 256 + 1, 257), (7 * 2048, 2048), (100_000, 2048)]
)
def test_each_partition_gets_a_frame_unless_frames_would_be_small(rows: int, most: int):
    assert rows_a_frame(rows, 7) == most


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 3)), min_size=1, max_size=20))
def test_every_row_is_in_one_frame_in_order_and_no_frame_is_too_large(sizes: list[tuple[int, int]]):
    entries = numbered(*(some_rows(rows, group) for rows, group in sizes))
    frames, large = cut(entries, {n: a_group(n) for n in (1, 2, 3)})
    assert not large
    seen = [s for f in frames for p in f.pieces for s in range(p.first_sequence, p.last_sequence + 1)]
    assert sorted(seen) == list(range(1, 1 + sum(rows for rows, _ in sizes)))
    for frame in frames:
        assert frame.rows <= FRAME_ROWS
        inside = [p.first_sequence for p in frame.pieces]
        assert inside == sorted(inside)
    for group in (1, 2, 3):
        firsts = [f.first_sequence for f in frames if f.group.version == group]
        assert firsts == sorted(firsts)
    assert cut(entries, {n: a_group(n) for n in (1, 2, 3)}) == (frames, large)


def test_a_split_request_keeps_its_row_numbers_and_values():
    frames, _ = cut(numbered(some_rows(600)), {1: a_group()}, most_rows=256)
    assert [(p.first_row, p.entry.rows) for f in frames for p in f.pieces] == [(0, 256), (256, 256), (512, 88)]
    joined = b"".join(f.pieces[0].entry.columns[0] for f in frames)
    assert joined == some_rows(600).columns[0]


def test_frames_stay_below_their_limit_of_bytes():
    frames, large = cut(numbered(some_rows(200, text=b"t" * 5000)), {1: a_group()})
    assert not large
    assert len(frames) > 3
    assert all(sum(size_of(piece.entry) for piece in frame.pieces) <= FRAME_BYTES + ROW_BYTES for frame in frames)


def test_a_row_above_64_kib_goes_out_by_digest():
    text = b"t" * (ROW_BYTES + 1)
    frames, large = cut(numbered(some_rows(2, text=text), some_rows(1)), {1: a_group()})
    cell = oip.pack_bytes([text])
    digest = hashlib.sha256(cell).hexdigest()
    assert large == {digest: cell}
    assert [(sorted(f.digested), f.rows) for f in frames] == [([1], 2), ([], 1)]
    assert oip.unpack_bytes(frames[0].pieces[0].entry.columns[1]) == [digest.encode()] * 2


def test_partitions_take_turns_and_frames_are_numbered_without_gaps_per_stream():
    frames, _ = cut(numbered(*[some_rows(256)] * 7), {1: a_group()}, most_rows=256)
    numbering = Numbering(3)
    assert [(n.partition, n.frame_no) for n in numbering.number(frames)] == [
        (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2), (0, 3),
    ]  # fmt: skip
    again = Numbering(3, numbering.state())
    assert (
        again.number(frames[:2]) == numbering.number(frames[:2]) == (Number("flights", 1, 3), Number("flights", 2, 3))
    )


def test_names_that_every_row_repeats_are_counted_in_a_frames_size():
    long = {"request_id": b"i" * 1024, "entities": b"e" * 1024, "traceparent": b"t" * 55}
    frames, _ = cut(numbered(*(some_rows(200, **long) for _ in range(10))), {1: a_group()})
    assert sum(frame.rows for frame in frames) == 2000
    numbers, books = Numbering(3).number(frames), Books("s")
    sizes = [
        frame_message(frame, number, Cut(1, 2000, 5), books, "r").ByteSize()
        for frame, number in zip(frames, numbers, strict=True)
    ]
    assert max(sizes) < 2 * FRAME_BYTES


def test_entities_by_row_are_counted_too():
    entities = oip.pack_bytes([b"e" * 1024] * 2000)
    frames, _ = cut(numbered(some_rows(2000, entities=entities, entity_by_row=True)), {1: a_group()})
    assert max(size_of(piece.entry) for frame in frames for piece in frame.pieces) <= FRAME_BYTES
    assert b"".join(piece.entry.entities for frame in frames for piece in frame.pieces) == entities


def test_rows_without_any_column_make_a_frame():
    group = Group("production", "flights", 5, 2, "shadow", 7, "", (), ())
    entry = Rows.decode(some_rows(300, columns=[]).encode(), 0)
    frames, _ = cut(numbered(entry), {1: group}, most_rows=256)
    message = frame_message(frames[0], Number("flights", 0, 1), Cut(1, 300, 5), Books("s"), "r")
    assert (message.rows, len(message.inputs), len(message.outputs)) == (256, 0, 0)
    assert [frame.rows for frame in frames] == [256, 44]
