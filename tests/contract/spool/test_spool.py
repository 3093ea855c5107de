"""The spool's contract: every answered row is logged, sampled out, waiting or dropped, exactly, whoever is killed when.

Real files; the log is in memory and deduplicates as every consumer does: by stream and frame number.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_inference.domain.cuts import Cut
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows, decode
from gyrostat_inference.domain.frames import FRAME_ROWS, cut
from gyrostat_inference.store import segments, shipping
from gyrostat_inference.store.shipping import Journal, Taken, read_books, spools
from gyrostat_inference.store.spool import writer_alive
from support.spools import GROUP, MemoryLog, Shipping, a_spool, put
from support.waiting import eventually

TESTS = Path(__file__).resolve().parents[2]


async def test_what_is_put_in_comes_out_once_and_the_books_balance(tmp_path: Path):
    spool = a_spool(tmp_path)
    for n in range(100):
        put(spool, n * 10, 10)
        if n % 10 == 0:
            spool.count(3, "")
            spool.count(2, "shadow_failed")
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(1000))
    assert (books.accepted, books.logged, books.sampled_out, dict(books.dropped), books.waiting) == (
        1050, 1000, 30, {"shadow_failed": 20}, 0,
    )  # fmt: skip
    assert books.accepted == spool.accepted == segments.last_sequence(spool.folder)
    assert log.books[-1].logged + log.books[-1].sampled_out + 20 <= 1050
    spool.close()


async def test_a_shipper_that_dies_before_the_acks_is_followed_by_identical_frames(tmp_path: Path):
    spool = a_spool(tmp_path)
    for n in range(60):
        put(spool, n * 10, 10)
    log = MemoryLog(gate=asyncio.Event())
    first = Shipping(spool.folder, log)
    await first.once()
    await asyncio.sleep(0)
    sent = list(log.records)
    assert sent
    await first.drop()
    for n in range(60, 100):
        put(spool, n * 10, 10)
    log.gate = None
    second = Shipping(spool.folder, log)
    books = await second.to_the_end()
    again = {(stream, frame_no): value for stream, frame_no, value in log.records[len(sent) :]}
    assert all(again[stream, frame_no] == value for stream, frame_no, value in sent)
    assert log.values() == list(range(1000))
    assert (books.logged, books.waiting) == (1000, 0)
    await second.drop()
    spool.close()


async def test_what_an_older_release_has_cut_goes_out_in_its_frames(tmp_path: Path):
    spool = a_spool(tmp_path)
    put(spool, 0, 1000)
    groups = {1: GROUP}
    entry = decode(segments.Segments(spool.folder).read()[1].payload, groups)
    assert isinstance(entry, Rows)
    old, _ = cut([(1, entry)], groups, most_rows=256)
    journal = Journal(spool.folder, 3)
    journal.write(Cut(1, 1000, 5, journal.numbering.number(old), rows=1000))
    journal.close()
    put(spool, 1000, 1000)
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(2000))
    frames = [pb.PredictionLogged.FromString(value).rows for _, _, value in log.records]
    assert frames == [256, 256, 256, 232, 334, 334, 332]
    assert (books.logged, books.waiting) == (2000, 0)
    spool.close()


@pytest.mark.parametrize("killed_after", [1, 2, 5, 9])
async def test_progress_survives_any_number_of_restarts(tmp_path: Path, killed_after: int):
    spool = a_spool(tmp_path)
    log = MemoryLog()
    for n in range(40):
        put(spool, n * 50, 50)
        if n % killed_after == 0:
            shipper = Shipping(spool.folder, log)
            await shipper.ship.resume()
            await shipper.once()
            await shipper.drop()
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(2000))
    assert (books.logged, books.waiting) == (2000, 0)
    spool.close()


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.waiting import eventually
from support.spools import a_spool, put, take_in
spool = a_spool(Path(sys.argv[1]))
n = 0
while True:
    put(spool, n * 7, 7)
    if n % 5 == 0:
        spool.count(1, "")
    n += 1
    sys.stdout.write(f"{{n * 7}} {{spool.accepted}}\\n")
    sys.stdout.flush()
"""


async def test_kill_9_of_the_writer_loses_no_row_that_was_answered(tmp_path: Path):
    writer = subprocess.Popen(  # noqa: ASYNC220 - there is nothing else to do meanwhile
        [sys.executable, "-c", WRITER.format(tests=str(TESTS)), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(2000)]
    (folder,) = spools(tmp_path)
    assert writer_alive(folder)
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().splitlines(keepends=True)
    writer.wait()
    whole = [line for line in [*lines, *rest] if line.endswith("\n")]
    answered, accepted = map(int, whole[-1].split())
    assert not writer_alive(folder)
    log = MemoryLog()
    shipper = Shipping(folder, log)
    books = await shipper.to_the_end(finish=True)
    values = log.values()
    assert values == list(range(len(values)))
    assert answered <= len(values) <= answered + 7
    assert books.accepted >= accepted
    assert books.accepted == books.logged + books.sampled_out
    shipper.journal.retire(books.accepted)
    assert not folder.exists()
    assert read_books(tmp_path) == {folder.name: books}


SHIPPER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.waiting import eventually
from support.spools import MemoryLog, Shipping

class FileLog(MemoryLog):
    async def send(self, frame, number, cut, books):
        before = len(self.records)
        await super().send(frame, number, cut, books)
        stream, frame_no, value = self.records[before]
        sys.stdout.write(f"{{stream}} {{frame_no}} {{value.hex()}}\\n")
        sys.stdout.flush()

async def main():
    shipping = Shipping(Path(sys.argv[1]), FileLog())
    await shipping.ship.resume()
    while True:
        await shipping.ship.step(asyncio.get_running_loop().time())
        await asyncio.sleep(0)

asyncio.run(main())
"""


async def test_kill_9_of_the_shipper_again_and_again_logs_every_row_once(tmp_path: Path):
    spool = a_spool(tmp_path)
    log = MemoryLog()
    for n in range(200):
        put(spool, n * 1000, 1000)
    for stop_after in (1, 3, 10, 20):
        command = [sys.executable, "-c", SHIPPER.format(tests=str(TESTS)), str(spool.folder)]
        shipper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        assert shipper.stdout is not None
        printed = [shipper.stdout.readline() for _ in range(stop_after)]
        shipper.send_signal(signal.SIGKILL)
        printed += shipper.stdout.read().splitlines(keepends=True)
        shipper.wait()
        for line in printed:
            if line.endswith("\n"):
                stream, frame_no, value = line.split()
                log.records.append((stream, int(frame_no), bytes.fromhex(value)))
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(200_000))
    assert (books.logged, books.waiting) == (200_000, 0)
    seen: dict[tuple[str, int], bytes] = {}
    for stream, frame_no, value in log.records:
        assert seen.setdefault((stream, frame_no), value) == value, "a resend is identical"
    spool.close()


async def test_a_torn_last_entry_was_never_answered_and_is_not_there(tmp_path: Path):
    spool = a_spool(tmp_path)
    put(spool, 0, 10)
    put(spool, 10, 10)
    spool.close()
    path = segments.path_of(spool.folder, 0)
    os.truncate(path, path.stat().st_size - 3)
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end(finish=True)
    assert log.values() == list(range(10))
    assert (books.accepted, books.logged) == (10, 10)


async def test_rows_that_the_disk_has_damaged_are_counted_as_corrupt(tmp_path: Path):
    spool = a_spool(tmp_path, segment_bytes=500)
    for n in range(30):
        put(spool, n * 10, 10)
    spool.close()
    known = segments.bases(spool.folder)
    assert len(known) > 3
    path = segments.path_of(spool.folder, known[1])
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 0xFF
    path.write_bytes(raw)
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end(finish=True)
    assert books.accepted == 300
    assert books.dropped["corrupt"] == 10
    assert books.logged == 290 == len(log.values())
    assert books.waiting == 0


async def test_a_block_of_the_disk_in_the_wrong_place_is_counted_as_corrupt_and_logs_nothing_twice(tmp_path: Path):
    spool = a_spool(tmp_path, segment_bytes=1000)
    for n in range(30):
        put(spool, n * 10, 10)
    spool.close()
    path = segments.path_of(spool.folder, segments.bases(spool.folder)[1])
    raw = path.read_bytes()
    path.write_bytes(raw + raw[segments.FILE_HEAD.size :])
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end(finish=True)
    assert log.values() == list(range(300))
    assert (books.accepted, books.logged, books.waiting) == (300, 300, 0)


async def test_an_entry_of_another_release_is_counted_as_corrupt_and_the_rest_goes_on(tmp_path: Path):
    spool = a_spool(tmp_path)
    put(spool, 0, 10)
    spool.close()
    (base,) = segments.bases(spool.folder)
    whole = segments.Segments(spool.folder).read()
    nonsense = segments.frame(13, b"\x09" + bytes(60))
    again = segments.frame(23, whole[-1].payload)
    with segments.path_of(spool.folder, base).open("ab") as file:
        file.write(nonsense + again)
    books = await Shipping(spool.folder, MemoryLog()).to_the_end(finish=True)
    assert (books.accepted, books.logged, books.dropped["corrupt"]) == (23, 20, 3)


async def test_segments_go_when_all_that_they_hold_is_settled(tmp_path: Path):
    spool = a_spool(tmp_path, segment_bytes=2000)
    for n in range(200):
        put(spool, n * 10, 10)
    assert len(segments.bases(spool.folder)) > 10
    log = MemoryLog()
    shipper = Shipping(spool.folder, log)
    await shipper.to_the_end()
    assert len(segments.bases(spool.folder)) == 1
    assert log.values() == list(range(2000))
    await shipper.drop()
    put(spool, 2000, 10)
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(2010))
    assert books.waiting == 0
    spool.close()


async def test_the_notebook_is_rewritten_when_it_has_grown(tmp_path: Path):
    spool = a_spool(tmp_path)
    log = MemoryLog()
    shipper = Shipping(spool.folder, log, rewrite_bytes=2000)
    for n in range(50):
        put(spool, n * 10, 10)
        await shipper.to_the_end()
    assert (spool.folder / shipping.CUTS).stat().st_size < 4000
    await shipper.drop()
    put(spool, 500, 10)
    books = await Shipping(spool.folder, log).to_the_end()
    assert log.values() == list(range(510))
    assert books.logged == 510
    spool.close()


async def test_a_spool_has_one_shipper(tmp_path: Path):
    spool = a_spool(tmp_path)
    journal = Journal(spool.folder, 3)
    with pytest.raises(Taken):
        Journal(spool.folder, 3)
    journal.close()
    Journal(spool.folder, 3).close()
    spool.close()


async def test_frames_that_the_broker_refuses_are_counted_and_the_rest_goes_on(tmp_path: Path):
    spool = a_spool(tmp_path)
    for n in range(6):
        put(spool, n * FRAME_ROWS, FRAME_ROWS)
    log = MemoryLog(refuse=frozenset([("flights", 2)]))
    books = await Shipping(spool.folder, log).to_the_end()
    assert books.dropped == {"refused": 3 * FRAME_ROWS}
    assert books.logged == 3 * FRAME_ROWS
    assert books.waiting == 0
    spool.close()


async def test_at_most_64_frames_are_in_flight_and_a_stream_sends_one_at_a_time(tmp_path: Path):
    spool = a_spool(tmp_path)
    models = [Group("production", f"m{n}", 1, 1, "champion", 1, "", GROUP.inputs, GROUP.outputs) for n in range(40)]
    for n in range(200):
        put(spool, n, 1, models[n % 40])
    log = MemoryLog(gate=asyncio.Event())
    shipper = Shipping(spool.folder, log)
    stepping = asyncio.create_task(shipper.once())
    await eventually(lambda: len(log.records) == 40)
    assert log.most_in_flight <= 64
    sent = [stream for stream, _, _ in log.records]
    assert len(sent) == len(set(sent)), "the next frame of a stream waits for the ack of the one before"
    assert log.gate is not None
    log.gate.set()
    await stepping
    books = await shipper.to_the_end()
    assert (books.logged, books.waiting) == (200, 0)
    spool.close()


CANARY = b"canary-4711-should-be-nowhere"


async def test_a_value_too_large_for_a_frame_goes_to_the_artifact_store(tmp_path: Path):
    spool = a_spool(tmp_path)
    wide = Group("production", "m", 1, 1, "champion", 1, "", (ColumnSpec("t", "BYTES", ()),), ())
    text = b"t" * 100_000
    cell = len(text).to_bytes(4, "little") + text
    spool.append(wide, Rows(spool.number(wide), 1, 1, 1, 1, False, b"p" * 16, b"", b"", b"", False, [cell]))
    spool.write()
    log = MemoryLog()
    books = await Shipping(spool.folder, log).to_the_end()
    assert list(log.artifacts.values()) == [cell]
    assert len(log.records[0][2]) < 1000
    assert books.logged == 1
    spool.close()
