"""A spool that fills: what is kept covers a long outage, whole predictions, and the books say what was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gyrostat_inference.domain.pressure import SAMPLED_FROM, kept_share
from gyrostat_inference.domain.routing import sampled
from gyrostat_inference.store.spool import KEEP_FREE_BYTES, Limits, Room, Spool
from support.spools import MemoryLog, Shipping, put, take_in


def outage(spool: Spool, requests: int, each_s: int = 20) -> list[int]:
    """Requests of one row while nothing is shipped; the room is measured after every `each_s`. Those that were kept."""
    kept = []
    for n in range(requests):
        if sampled(spool.share, "log", f"{n:032x}"):
            take_in(spool, n, 1)
            kept.append(n)
        else:
            spool.count(1, "")
        if n % each_s == each_s - 1:
            spool.write()
            spool.room.measure()
    spool.write()
    return kept


@pytest.mark.parametrize("segment_bytes", [5_000, 2**24])
async def test_what_is_kept_covers_a_long_outage_and_the_books_balance(tmp_path: Path, segment_bytes: int):
    spool = Spool(tmp_path, "answer", Room(tmp_path, Limits(100_000), on_full="sample"), segment_bytes)
    kept = outage(spool, 5_000)
    fits = next(n for n, one in enumerate(kept) if n != one)
    assert 5_000 / fits > 8, "the outage is many times as long as the half of the spool"
    assert not spool.full
    assert not spool.dropped
    assert spool.sampled_out == 5_000 - len(kept)
    for part in range(0, 5_000, 500):
        assert any(part <= n < part + 500 for n in kept), f"nothing of {part} and what follows"
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == kept
    assert (books.accepted, books.logged, books.sampled_out, books.waiting) == (5_000, len(kept), 5_000 - len(kept), 0)
    assert not books.dropped
    spool.close()


async def test_when_there_is_room_again_all_is_kept_again(tmp_path: Path):
    room = Room(tmp_path, Limits(100_000), on_full="sample")
    spool = Spool(tmp_path, "answer", room, segment_bytes=5_000)
    outage(spool, 2_000)
    assert spool.share < 1.0
    await Shipping(spool.folder, MemoryLog()).to_the_end()
    room.measure()
    assert spool.share == 1.0
    spool.close()


async def test_only_the_policy_samples_and_a_small_disk_counts_as_the_limit(tmp_path: Path):
    room = Room(tmp_path, Limits(100_000))
    spool = Spool(tmp_path, "answer", room)
    put(spool, 0, 6_000)
    room.measure()
    assert (room.used_ratio > SAMPLED_FROM, room.share) == (True, 1.0)
    small = Room(tmp_path, Limits(2**40), lambda folder: KEEP_FREE_BYTES + 20_000, on_full="sample")
    small.measure()
    assert small.share == kept_share(small.used_bytes / (small.used_bytes + 20_000)) < 0.3
    spool.close()


async def test_who_waits_for_room_keeps_the_rows_that_were_under_way_when_it_was_full(tmp_path: Path):
    disk = [2**40]
    room = Room(tmp_path, Limits(10_000), lambda folder: disk[0], on_full="block")
    spool = Spool(tmp_path, "answer", room)
    for n in range(0, 2_000, 100):
        put(spool, n, 100)
    assert (spool.full, spool.accepted, spool.left_bytes, spool.dropped) == (True, 2_000, 0, {})
    disk[0] = KEEP_FREE_BYTES - 1
    room.measure()
    put(spool, 2_000, 100)
    disk[0] = 2**40
    room.measure()
    await spool.tend()
    assert spool.dropped == {"full": 100}
    spool.close()
