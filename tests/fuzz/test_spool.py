"""The spool after the disk, a crash or a person has been at its files: what is whole is read, the rest is counted."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random

from fuzz import mutating
from fuzz.conftest import Fuzz
from gyrostat_inference.domain import entries
from gyrostat_inference.domain.alike import alike
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.entries import Group
from gyrostat_inference.store import segments
from gyrostat_inference.store.segments import Segments
from support.spools import MemoryLog, Shipping, a_spool, put


def test_a_damaged_segment_is_read_to_its_damage(fuzz: Fuzz, tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "good", segment_bytes=2000)
    for first in range(0, 200, 5):
        put(spool, first, 5)
    for first in range(200, 300):
        put(spool, first, 1)
    good = {path.name: path.read_bytes() for path in spool.folder.glob("*.seg")}
    folder = tmp_path / "bad"

    def make(random: Random) -> dict[str, bytes]:
        return {name: mutating.raw(random, raw) if random.random() < 0.5 else raw for name, raw in good.items()}

    def read(files: dict[str, bytes]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        segments.last_sequence(folder)
        reader, groups, seen = Segments(folder), dict[int, Group](), 0
        while found := reader.read():
            for entry in found:
                assert entry.sequence >= entry.before >= seen
                seen = entry.sequence
                payloads = [entry.payload] if entry.table is None else alike(entry.table, groups)
                for payload in payloads:
                    if isinstance(payload, bytes):
                        entries.decode(payload, groups)
        reader.close()

    fuzz(make, read)


def test_an_entry_that_says_nonsense_is_refused(fuzz: Fuzz, tmp_path: Path) -> None:
    """A checksum only says that it was written so."""
    spool = a_spool(tmp_path)
    put(spool, 0, 5)
    payloads = [entry.payload for entry in Segments(spool.folder).read()]

    def read(given: list[bytes]) -> None:
        groups: dict[int, Group] = {}
        for payload in given:
            entries.decode(payload, groups)

    fuzz(lambda random: [mutating.raw(random, p) if random.random() < 0.6 else p for p in payloads], read)


def test_a_spool_with_blocks_in_wrong_places_is_shipped_once_and_balances(fuzz: Fuzz, tmp_path: Path) -> None:
    """Whole entries are copied, moved and lost, as well as bytes."""
    spool = a_spool(tmp_path / "good", segment_bytes=3000)
    for first in range(200):
        put(spool, first, 1)
    for first in range(200, 400, 5):
        put(spool, first, 5)
    spool.close()
    good = {path.name: split(path.read_bytes()) for path in sorted(spool.folder.glob("*.seg"))}
    every = [entry for entries in good.values() for entry in entries[1:]]
    folder = tmp_path / "bad" / spool.spool_id

    def make(random: Random) -> dict[str, bytes]:
        files = {}
        for name, (head, *rest) in good.items():
            for _ in range(random.choice((0, 0, 1, 3))):
                start = random.randrange(len(every))
                block = every[start : start + random.choice((1, 2, 30))]
                at = random.randrange(len(rest) + 1)
                rest[at : at + random.choice((0, 1, 30))] = block
            raw = head + b"".join(rest)
            files[name] = mutating.raw(random, raw) if random.random() < 0.1 else raw
        return files

    def ship(files: dict[str, bytes]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        log = MemoryLog()
        books = asyncio.run(shipped(folder, log))
        values = log.values()
        assert values == sorted(set(values)), "a row is logged twice"
        assert (books.logged, books.waiting) == (len(values), 0)

    fuzz(make, ship)


def split(raw: bytes) -> list[bytes]:
    """A segment's head, and its entries."""
    at = segments.FILE_HEAD.size
    parts = [raw[:at]]
    while at < len(raw):
        size = segments.ENTRY_HEAD.size + segments.ENTRY_HEAD.unpack_from(raw, at)[0]
        parts.append(raw[at : at + size])
        at += size
    return parts


async def shipped(folder: Path, log: MemoryLog) -> Books:
    shipping = Shipping(folder, log)
    try:
        return await shipping.to_the_end(finish=True)
    finally:
        await shipping.drop()
