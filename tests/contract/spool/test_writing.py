"""How the spool is written: together, within its bounds, and never at the cost of an answer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gyrostat_inference.store import segments
from gyrostat_inference.store.spool import Limits, Room, Spool, writer_alive
from support.spools import MemoryLog, Shipping, a_spool, put, take_in


async def test_entries_are_in_the_file_when_write_returns(tmp_path: Path):
    spool = a_spool(tmp_path)
    for n in range(0, 50, 10):
        take_in(spool, n, 10)
    assert (segments.last_sequence(spool.folder), spool.accepted) == (0, 0)
    spool.write()
    assert (segments.last_sequence(spool.folder), spool.accepted) == (50, 50)
    await spool.flush()
    spool.close()


async def test_what_is_taken_in_together_is_written_at_once(tmp_path: Path):
    spool = a_spool(tmp_path)
    end, into = os.pipe2(os.O_DIRECT)  # a pipe of packets: a read gives what one write has put in
    whole, spool._file = spool._file, into
    for n in range(0, 50, 10):
        take_in(spool, n, 10)
    spool.count(3, "")
    spool.write()
    packets = [os.read(end, 65536) for _ in range(2)]
    head, last = segments.ENTRY_HEAD, b"".join(packets)
    entries = []
    while last:
        size, _, sequence = head.unpack_from(last)
        entries.append(sequence)
        last = last[head.size + size :]
    assert entries == [0, 10, 20, 30, 40, 50, 53]
    assert len(packets[1]) < len(packets[0]) // 5, "the counts, behind all entries in one"
    spool._file = whole
    os.close(end)
    os.close(into)
    spool.close()


async def test_what_is_taken_in_is_written_when_it_is_much_and_when_the_spool_is_tended_flushed_or_closed(
    tmp_path: Path,
):
    spool = a_spool(tmp_path)
    take_in(spool, 0, 40_000)
    assert segments.last_sequence(spool.folder) == 40_000
    for n, ending in enumerate((spool.tend, spool.flush)):
        take_in(spool, n, 1)
        await ending()
        assert segments.last_sequence(spool.folder) == 40_001 + n
    take_in(spool, 9, 1)
    spool.close()
    assert segments.last_sequence(spool.folder) == 40_003


async def test_a_full_spool_drops_new_rows_counts_them_and_takes_rows_again_when_there_is_room(tmp_path: Path):
    room = Room(tmp_path, Limits(bytes=20_000))
    spool = Spool(tmp_path, "answer", room)
    for n in range(200):
        put(spool, n * 10, 10)
    dropped = spool.dropped["full"]
    assert dropped
    assert spool.accepted == 2000
    spool._begin_segment()  # the full one can go once it is shipped
    log = MemoryLog()
    shipper = Shipping(spool.folder, log)
    books = await shipper.to_the_end()
    assert (books.logged, books.dropped) == (2000 - dropped, {"full": dropped})
    room.measure()
    assert not room.full
    put(spool, 2000, 10)
    assert spool.dropped["full"] == dropped
    spool.close()


async def test_a_segment_that_has_waited_too_long_fills_the_spool(tmp_path: Path):
    room = Room(tmp_path, Limits(age_s=3600))
    spool = Spool(tmp_path, "answer", room)
    put(spool, 0, 10)
    spool._begin_segment()
    os.utime(segments.path_of(spool.folder, 0), (0, 0))
    room.measure()
    assert room.full
    spool.close()


async def test_blocked_writers_go_on_when_there_is_room(tmp_path: Path):
    room = Room(tmp_path, Limits(bytes=1000))
    spool = Spool(tmp_path, "answer", room)
    room.used_bytes = 5000
    waiting = asyncio.create_task(spool.until_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    room.measure()
    await spool.tend()
    await asyncio.wait_for(waiting, 5)
    spool.close()


async def test_a_disk_that_is_full_costs_counts_and_never_an_answer(tmp_path: Path):
    spool = a_spool(tmp_path)
    put(spool, 0, 10)
    whole, spool._file = spool._file, os.open("/dev/full", os.O_WRONLY)
    put(spool, 10, 10)
    put(spool, 20, 10)
    os.close(spool._file)
    spool._file = whole
    put(spool, 30, 10)
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == [*range(10), *range(30, 40)]
    spool.settle()
    assert (spool.accepted, spool.dropped) == (40, {"disk": 20})
    assert books.waiting == 0
    spool.close()


async def test_a_writer_never_takes_up_an_old_spool(tmp_path: Path):
    first, second = a_spool(tmp_path), a_spool(tmp_path)
    assert first.folder != second.folder
    first.close()
    second.close()
    assert not writer_alive(first.folder)
