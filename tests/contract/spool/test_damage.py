"""What a disk may do to a spool: damaged, copied and misplaced blocks cost the rows that they held, counted, and double
none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gyrostat_inference.store import segments
from gyrostat_inference.store.segments import Segments
from gyrostat_inference.store.shipping import CUTS, Journal, NotesDamaged
from support.spools import MemoryLog, Shipping, a_spool, put


def singles(folder: Path, rows: int, segment_bytes: int = 2**20) -> Path:
    """A spool of so many requests of one row, and no writer."""
    spool = a_spool(folder, segment_bytes=segment_bytes)
    for n in range(rows):
        put(spool, n, 1)
    spool.close()
    return spool.folder


def segment(folder: Path, number: int) -> Path:
    return segments.path_of(folder, segments.bases(folder)[number])


async def test_requests_of_one_row_are_read_together_and_each_comes_out_once(tmp_path: Path):
    folder = singles(tmp_path, 5000)
    assert any(found.table is not None for found in Segments(folder).read())
    log = MemoryLog()
    books = await Shipping(folder, log).to_the_end(finish=True)
    assert log.values() == list(range(5000))
    assert (books.accepted, books.logged, books.waiting) == (5000, 5000, 0)


@pytest.mark.parametrize("after", [1, 3, 17, 256, 999])
async def test_a_reader_begins_behind_any_row_and_a_cut_ends_at_any(tmp_path: Path, after: int):
    folder = singles(tmp_path, 1000)
    rows = [s for found in Segments(folder, after).read() for s in range(found.before + 1, found.sequence + 1)]
    assert rows == list(range(after + 1, 1001))
    (many,) = (found for found in Segments(folder).read() if found.table is not None)
    parts = many.parted(many.before + after // 2)
    assert [(part.before, part.sequence) for part in parts] == [
        (many.before, many.before + after // 2),
        (many.before + after // 2, many.sequence),
    ]
    assert [len(part.table) for part in parts if part.table is not None] == [after // 2, 996 - after // 2]


@pytest.mark.parametrize("place", [0.01, 0.4, 0.99])
async def test_a_damaged_byte_among_rows_that_are_read_together_costs_what_follows_in_its_segment(
    tmp_path: Path, place: float
):
    folder = singles(tmp_path, 1000, segment_bytes=20_000)
    first, second, third = segments.bases(folder)[:3]
    path = segment(folder, 1)
    raw = bytearray(path.read_bytes())
    raw[segments.FILE_HEAD.size + int((len(raw) - segments.FILE_HEAD.size) * place)] ^= 0xFF
    path.write_bytes(raw)
    log = MemoryLog()
    books = await Shipping(folder, log).to_the_end(finish=True)
    assert books.logged == len(set(log.values())) == len(log.values())
    assert (books.accepted, books.waiting) == (1000, 0)
    assert books.dropped == {"corrupt": 1000 - books.logged}
    assert first == 0 < books.dropped["corrupt"] <= third - second


@pytest.mark.parametrize("rows", [1, 10])
@pytest.mark.parametrize(("from_", "to"), [(0, 0), (2, 0), (0, 2), (1, 1), (3, 1)])
async def test_a_block_in_the_wrong_place_logs_nothing_twice_and_the_books_balance(
    tmp_path: Path, from_: int, to: int, rows: int
):
    """The end of one segment, from some entry on, behind another segment."""
    spool = a_spool(tmp_path, segment_bytes=3000 if rows == 1 else 800)
    for n in range(300 // rows):
        put(spool, n * rows, rows)
    spool.close()
    raw = segment(spool.folder, from_).read_bytes()
    at, starts = segments.FILE_HEAD.size, []
    while at < len(raw):
        starts.append(at)
        at += segments.ENTRY_HEAD.size + segments.ENTRY_HEAD.unpack_from(raw, at)[0]
    with segment(spool.folder, to).open("ab") as file:
        file.write(raw[starts[-1 if from_ == to else len(starts) // 2] :])
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end(finish=True)
    assert log.values() == sorted(set(log.values()))
    assert (books.accepted, books.waiting, books.logged) == (300, 0, len(log.values()))
    assert log.values() == list(range(300)), "what is whole in its place is not lost by it"


async def test_notes_that_contradict_each_other_are_said_and_leave_the_spool_alone(tmp_path: Path):
    spool = a_spool(tmp_path)
    put(spool, 0, 10)
    shipper = Shipping(spool.folder, MemoryLog())
    await shipper.to_the_end()
    await shipper.drop()
    lines = (spool.folder / CUTS).read_bytes().splitlines(keepends=True)
    (spool.folder / CUTS).write_bytes(b"".join([*lines, lines[-1]]))
    for _ in range(2):  # nothing is held after the first
        with pytest.raises(NotesDamaged, match="does not add up"):
            Journal(spool.folder, 3)
    spool.close()
