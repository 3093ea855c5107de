"""The spool as the service writes it: an answer is in a file before the caller has it. Entries are taken in one by one
and written together: once for all answers of a turn of the event loop, before the first of them leaves.

A folder per process and kind ("answer", "shadow"), born with a random name, held by flock while its writer lives, so
that a shipper can tell a dead one. Bounded in bytes and age. What comes after: `store.shipping`, in another process.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from gyrostat_common.errors import Unavailable
from gyrostat_inference.domain.entries import Counted, Group, Rows, encode_group
from gyrostat_inference.domain.pressure import kept_share
from gyrostat_inference.store import segments

log = structlog.get_logger(__name__)

LOCK, SEGMENT_BYTES, SEGMENT_AGE_S = "lock", 16 * 1024 * 1024, 60.0
ALARM_RATIO = 0.8
# Past the limit only counts are written; past this much more they are kept in memory until there is room.
_COUNTS_ROOM = 64 * 1024 * 1024
# Left free on the disk: the shipper's notes must find room, or nothing would ever be shipped and give room.
KEEP_FREE_BYTES = 32 * 1024 * 1024
_MOST_GROUPS = 4096
# What is taken in before it is written; more is written at once.
_MOST_PENDING_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for Kafka."""

    bytes: int = 2 * 1024**3
    age_s: float = 24 * 3600


class Room:
    """How full the spools below a root are, measured once a second for all their writers."""

    def __init__(
        self, root: Path, limits: Limits, free_bytes: Callable[[Path], int] | None = None, on_full: str = "drop_new"
    ) -> None:
        """`on_full` is "sample", "drop_new", "reject" or "block"."""
        self._root, self.limits, self._on_full = root, limits, on_full
        self._free_bytes = free_bytes or _free_bytes
        self.used_bytes, self.oldest_s = 0, 0.0
        self.share = 1.0
        """Of new predictions, what is to be kept; changes when the room is measured."""
        self.disk_full = self._announced = False

    @property
    def used_ratio(self) -> float:
        if self.disk_full:
            return 1.0
        return max(self.used_bytes / self.limits.bytes, self.oldest_s / self.limits.age_s)

    @property
    def full(self) -> bool:
        limits = self.limits  # as used_ratio >= 1, without its divisions: asked for every answer
        return self.disk_full or self.used_bytes >= limits.bytes or self.oldest_s >= limits.age_s

    @property
    def closed(self) -> bool:
        """Whether rows are dropped. A call that waits until there is room, or waited, keeps its rows: what was under
        way is let in beyond the limit, as long as the disk has room.
        """
        return self.disk_full if self._on_full == "block" else self.full

    @property
    def left_bytes(self) -> int:
        return max(0, self.limits.bytes - self.used_bytes)

    def measure(self) -> None:
        """Looks at the files. The age is that of the oldest segment that still waits and is not being written."""
        now, used, oldest = time.time(), 0, 0.0
        for folder in self._root.iterdir() if self._root.exists() else ():
            try:
                sizes = [(e.name, e.stat()) for e in os.scandir(folder) if e.name.endswith(".seg")]
            except (FileNotFoundError, NotADirectoryError):
                continue  # shipped and removed meanwhile
            used += sum(stat.st_size for _, stat in sizes)
            waiting = sorted(sizes)[:-1]
            if waiting:
                oldest = max(oldest, now - waiting[0][1].st_mtime)
        self.used_bytes, self.oldest_s = used, oldest
        free = self._free_bytes(self._root) if self._root.exists() else 2**63
        self.disk_full = free < KEEP_FREE_BYTES
        if self._on_full == "sample":
            self._sample(used, used + free - KEEP_FREE_BYTES)
        self._announce()

    def _sample(self, used: int, room: int) -> None:
        """By bytes alone: what is too old does not become younger by keeping less."""
        before, self.share = self.share, kept_share(used / max(1, min(self.limits.bytes, room)))
        if (before < 1.0) != (self.share < 1.0):
            log.warning("spool_sampled", kept_share=self.share, used_bytes=used_mb(used))

    def _announce(self) -> None:
        """One line when it fills past the alarm, one when there is room again."""
        filling = self.used_ratio >= ALARM_RATIO
        if filling and not self._announced:
            log.error(
                "spool_filling",
                used_ratio=round(self.used_ratio, 3),
                used_bytes=used_mb(self.used_bytes),
                disk_full=self.disk_full,
            )
        elif self._announced and not filling:
            log.info("spool_has_room", used_ratio=round(self.used_ratio, 3))
        self._announced = filling


def _free_bytes(folder: Path) -> int:
    """What is left of the disk for us."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def used_mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


class Spool:
    """One writer's spool. Not thread-safe: everything but `flush` runs on the event loop."""

    def __init__(self, root: Path, kind: str, room: Room, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.spool_id = f"{kind}-{secrets.token_hex(6)}"
        self.folder = root / self.spool_id
        self.room, self._segment_bytes = room, segment_bytes
        self.accepted = self.sampled_out = 0
        self.dropped: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self.problem: str | None = None
        """What the disk said to the last write; None when it took it."""
        self._numbers: dict[int, tuple[int, Group]] = {}
        self._last_number = 0
        self._defined: set[int] = set()
        self._pending: list[bytes] = []
        self._pending_rows = self._pending_bytes = 0
        self._defining: set[int] = set()
        self._synced = 0
        self._flushing, self._freed = asyncio.Lock(), asyncio.Event()
        self.folder.mkdir(parents=True)
        self._file, self._retired = -1, list[int]()
        self._begin_segment()
        # Held before it has its name: a shipper that sees a spool must never find a living one unlocked.
        self._lock = os.open(self.folder / f"{LOCK}.new", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(self.folder / f"{LOCK}.new", self.folder / LOCK)

    def _begin_segment(self) -> None:
        path = segments.path_of(self.folder, self.accepted)
        fresh = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            os.write(fresh, segments.FILE_HEAD.pack(segments.MAGIC, self.accepted))
        except OSError:
            os.close(fresh)
            path.unlink()
            raise
        old, self._file = self._file, fresh
        self._size, self._born = segments.FILE_HEAD.size, time.monotonic()
        self._defined.clear()
        if old >= 0:
            self._retired.append(old)  # the next flush puts it on the disk and closes it, off the event loop

    def _rotate(self) -> None:
        """A new segment; without room for one, the present one grows on."""
        try:
            self._begin_segment()
        except OSError as error:
            log.error("spool_not_rotated", spool=self.spool_id, error=str(error))

    def number(self, group: Group) -> int:
        """The number by which this spool's entries name the group; by identity, because hashing one is slow."""
        known = self._numbers.get(id(group))
        if known is None:
            if len(self._numbers) >= _MOST_GROUPS:
                self._numbers.clear()
            self._last_number += 1
            known = self._numbers[id(group)] = (self._last_number, group)
        return known[0]

    @property
    def full(self) -> bool:
        """Whether rows would not be kept: no room, or a disk that refuses."""
        return self.room.full or self.problem is not None

    @property
    def share(self) -> float:
        """Of new predictions, what is to be kept."""
        return self.room.share

    @property
    def left_bytes(self) -> int:
        """What fits before the spool is full."""
        return self.room.left_bytes

    def append(self, group: Group, rows: Rows) -> None:
        """Takes the rows in, or counts them as dropped where there is no room. They are in the file when `write` has
        returned, or counted as dropped where the disk refused.
        """
        if self.room.closed:
            return self.count(rows.rows, "full")
        pending = self._pending
        if not pending and self._size > self._segment_bytes:
            self._rotate()
        last = self.accepted + self._pending_rows
        if rows.group not in self._defined and rows.group not in self._defining:
            pending.append(segments.frame(last, encode_group(rows.group, group)))
            self._defining.add(rows.group)
        entry = segments.frame(last + rows.rows, rows.encode())
        pending.append(entry)
        self._pending_rows += rows.rows
        self._pending_bytes += len(entry)
        if self._pending_bytes > _MOST_PENDING_BYTES:
            self.write()

    def count(self, rows: int, reason: str) -> None:
        """Rows that are not kept: sampled out (reason "") or dropped. `write` notes them, so that books survive a kill;
        without room for notes they wait in memory.
        """
        self._owed[reason] = self._owed.get(reason, 0) + rows

    def write(self) -> None:
        """Puts what was taken in since the last time into the file, with one write. Entries before counts: a disk that
        refuses makes one of the other.
        """
        if self._pending:
            self._write_pending()
        if self._owed and self.room.used_bytes < self.room.limits.bytes + _COUNTS_ROOM and not self.room.disk_full:
            self.settle()

    def _write_pending(self) -> None:
        pending, rows = self._pending, self._pending_rows
        taken = self._write(pending[0] if len(pending) == 1 else b"".join(pending))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if taken:
            self.accepted += rows
            self._defined |= self._defining
        else:
            self.count(rows, "disk")
        self._defining.clear()

    def settle(self) -> None:
        """Writes the counts that are still owed."""
        for reason, rows in list(self._owed.items()):
            if not self._write(segments.frame(self.accepted + rows, Counted(rows, reason).encode())):
                return
            del self._owed[reason]
            self.accepted += rows
            if reason:
                self.dropped[reason] = self.dropped.get(reason, 0) + rows
            else:
                self.sampled_out += rows

    def _write(self, data: bytes) -> bool:
        try:
            written = os.write(self._file, data)
        except OSError as error:
            written, refusal = -1, str(error)
        else:
            refusal = "no room for the whole entry"
        if written == len(data):
            self._size += written
            self.room.used_bytes += written
            if self.problem is not None:
                log.info("spool_written_again", spool=self.spool_id)
                self.problem = None
            return True
        if self.problem is None:  # one line, not one per answer
            log.error("spool_write_failed", spool=self.spool_id, error=refusal)
        self.problem = f"the disk of the spool refuses: {refusal}"
        with suppress(OSError):
            os.ftruncate(self._file, self._size)  # never leave half an entry in front of the next one
            os.lseek(self._file, self._size, os.SEEK_SET)
        return False

    async def flush(self) -> None:
        """Returns when everything appended so far is on the disk; calls that come together share one flush. Raises
        Unavailable when the disk refuses.
        """
        self.write()
        wanted = self.accepted
        async with self._flushing:
            if self._synced < wanted:
                reached, files = self.accepted, [*self._retired, os.dup(self._file)]
                self._retired.clear()
                try:
                    await asyncio.to_thread(_sync_and_close, files)
                except OSError as error:
                    raise Unavailable(f"the disk of the spool refuses: {error}") from error
                self._synced = reached

    async def until_room(self) -> None:
        """Returns when there is room again; measured once a second by `tend`."""
        while self.full:
            self._freed.clear()
            await self._freed.wait()

    async def tend(self) -> None:
        """Once a second: counts owed, a new segment when the present one is old, a flush, those who wait for room."""
        if self._pending:
            self._write_pending()
        if self._owed and not self.room.disk_full:
            self.settle()
        if not self.full:
            self._freed.set()
        if time.monotonic() - self._born > SEGMENT_AGE_S and self._size > segments.FILE_HEAD.size:
            self._rotate()
        await self.flush()

    def close(self) -> None:
        """After this the shipper sees a spool without a writer, ships what is left and removes it."""
        if self._pending:
            self._write_pending()
        self.settle()
        try:
            _sync_and_close([*self._retired, self._file])
        except OSError as error:
            log.error("spool_not_flushed", spool=self.spool_id, error=str(error))
        os.close(self._lock)


def _sync_and_close(files: list[int]) -> None:
    refused: OSError | None = None
    for file in files:
        try:
            os.fdatasync(file)
        except OSError as error:
            refused = error
        os.close(file)
    if refused is not None:
        raise refused


def writer_alive(folder: Path) -> bool:
    """Whether somebody holds the spool's lock."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
