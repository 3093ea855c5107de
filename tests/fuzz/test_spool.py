"""The spool after the disk, a crash or a person has been at its files: what is whole is read, the rest is counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from fuzz import mutating
from fuzz.conftest import Fuzz
from gyrostat_inference.domain import entries
from gyrostat_inference.domain.alike import alike
from gyrostat_inference.domain.entries import Group
from gyrostat_inference.store import segments
from gyrostat_inference.store.segments import Segments
from support.spools import a_spool, put


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
