"""A full disk under the spool: answers go on, books balance, no torn note is read as a whole one, and all recovers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gyrostat_inference.store.spool import KEEP_FREE_BYTES, Limits, Room, Spool
from support.full_disk import in_child
from support.spools import MemoryLog, Shipping, put, take_in


class Disk:
    """How much is free, as the test says."""

    free_bytes = 2**40

    def __call__(self, folder: Path) -> int:
        return self.free_bytes


async def test_before_the_disk_is_full_new_rows_are_dropped_and_counted_until_there_is_room(tmp_path: Path):
    disk = Disk()
    room = Room(tmp_path, Limits(), disk)
    spool = Spool(tmp_path, "answer", room)
    put(spool, 0, 10)
    disk.free_bytes = KEEP_FREE_BYTES - 1
    room.measure()
    size = room.used_bytes
    for n in range(10, 60, 10):
        put(spool, n, 10)
    await spool.tend()
    room.measure()
    assert spool.full
    assert room.used_bytes == size, "nothing is written: what is left is for the shipper's notes"
    disk.free_bytes = KEEP_FREE_BYTES
    room.measure()
    await spool.tend()
    put(spool, 60, 10)
    assert (spool.full, spool.accepted, spool.dropped) == (False, 70, {"full": 50})
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == [*range(10), *range(60, 70)]
    assert (books.accepted, books.logged, books.waiting, dict(books.dropped)) == (70, 20, 0, {"full": 50})
    spool.close()


async def test_a_disk_that_refuses_is_said_and_holds_up_those_who_asked_for_it_until_it_takes_again(tmp_path: Path):
    spool = Spool(tmp_path, "answer", Room(tmp_path, Limits()))
    whole, spool._file = spool._file, os.open("/dev/full", os.O_WRONLY)
    put(spool, 0, 10)
    assert spool.full
    assert spool.problem == "the disk of the spool refuses: [Errno 28] No space left on device"
    waiting = asyncio.create_task(spool.until_room())
    await asyncio.sleep(0)
    os.close(spool._file)
    spool._file = whole
    await spool.tend()
    await waiting
    assert (spool.problem, spool.full, spool.dropped) == (None, False, {"disk": 10})
    spool.close()


async def test_a_turn_that_the_disk_refuses_is_counted_whole_and_the_next_one_is_complete(tmp_path: Path):
    spool = Spool(tmp_path, "answer", Room(tmp_path, Limits()))
    whole, spool._file = spool._file, os.open("/dev/full", os.O_WRONLY)
    for n in range(0, 30, 10):
        take_in(spool, n, 10)
    spool.write()
    assert (spool.accepted, spool.full) == (0, True)
    os.close(spool._file)
    spool._file = whole
    put(spool, 30, 10)
    put(spool, 40, 10)
    assert (spool.accepted, spool.dropped, spool.full) == (50, {"disk": 30}, False)
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(30, 50)), "the definition of the group was refused too, and is there again"
    assert (books.accepted, books.logged, dict(books.dropped), books.waiting) == (50, 20, {"disk": 30}, 0)
    spool.close()


SHIPPER = """
from gyrostat_inference.store.shipping import CUTS, Journal
from support.spools import MemoryLog, Shipping, a_spool, put
async def main():
    spool = a_spool(folder)
    log = MemoryLog()
    shipped = 0
    for n in range(40):
        put(spool, n * 10, 10)
        cuts = spool.folder / CUTS
        size = cuts.stat().st_size if cuts.exists() else 0
        shipper = Shipping(spool.folder, log, **options)
        try:
            with full(size + 7 * n + 1):
                await shipper.to_the_end()
            shipped += 1
        except OSError as error:
            assert error.errno in (27, 28), error
        finally:
            await shipper.drop()
    books = await Shipping(spool.folder, log, **options).to_the_end()
    assert log.values() == list(range(400)), log.values()
    assert (books.accepted, books.logged, books.waiting) == (400, 400, 0), books
    assert shipped < 35, shipped
    assert not (spool.folder / (CUTS + ".new")).exists()
"""


def test_notes_of_which_the_disk_takes_a_part_are_as_if_never_written(tmp_path: Path):
    in_child(SHIPPER + "options = {}\nasyncio.run(main())\n", tmp_path)


def test_a_notebook_that_cannot_be_rewritten_stays_as_it_is(tmp_path: Path):
    in_child(SHIPPER + "options = {'rewrite_bytes': 300}\nasyncio.run(main())\n", tmp_path)


CACHE = """
from gyrostat_common.errors import Unavailable
from gyrostat_inference.store.cache import PlanFiles, hash_key
from support.live_models import a_plan
files = PlanFiles(folder / "plans", lambda raw: raw)
files.write(a_plan(), b"a" * 100)
with full(50):
    try:
        files.write(a_plan(), b"b" * 100)
        sys.exit("it went through")
    except Unavailable as error:
        assert "cannot be written" in str(error), error
assert files.read() == [(b"a" * 100, b"a" * 100)]
files.write(a_plan(), b"c" * 100)
assert files.read() == [(b"c" * 100, b"c" * 100)]
with full(5):
    try:
        hash_key(folder / "hash.key")
        sys.exit("half a key")
    except OSError:
        pass
key = hash_key(folder / "hash.key")
assert len(key) == 32 and hash_key(folder / "hash.key") == key
(folder / "hash.key").write_bytes(b"")
assert len(hash_key(folder / "hash.key")) == 32, "an empty key would hide nothing"
"""


def test_cached_plans_and_the_key_are_whole_or_not_there(tmp_path: Path):
    in_child(CACHE, tmp_path)
