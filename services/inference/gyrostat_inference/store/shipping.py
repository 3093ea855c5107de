"""What the shipper writes down beside a spool: its cuts before it sends them, its progress, what was refused.

`cuts.log` holds lines of JSON behind their checksum; a torn last line is as if never written. It is rewritten, in one
rename, when it has grown. Final books of spools that are gone lie in `<root>/closed/`.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c

from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number, Numbering, Progress
from gyrostat_inference.store import segments
from gyrostat_inference.store.spool import LOCK

CUTS, SHIPPER_LOCK, BOOKS, REJECTED, CLOSED = "cuts.log", "shipper.lock", "books.json", "rejected", "closed"
REWRITE_BYTES, REJECT_BYTES, _KEEP_CLOSED = 512 * 1024, 64 * 1024 * 1024, 500


class Taken(Exception):
    """Another shipper has this spool."""


class NotesDamaged(Exception):
    """The notes are as they were written, and contradict each other: only a person can say what was sent."""


class Journal:
    """A shipper's notebook on one spool; holding it is holding the spool."""

    def __init__(
        self, folder: Path, partitions: int, rewrite_bytes: int = REWRITE_BYTES, reject_bytes: int = REJECT_BYTES
    ) -> None:
        self.folder, self.spool_id = folder, folder.name
        self._rewrite_bytes, self._reject_bytes = rewrite_bytes, reject_bytes
        self._lock = os.open(folder / SHIPPER_LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Taken(folder.name) from None
        self.progress = Progress()
        self.numbering = Numbering(partitions)
        self.unsettled: list[Cut] = []
        try:
            self._file = os.open(folder / CUTS, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        except OSError:
            os.close(self._lock)
            raise
        try:
            self._size = self._replay()
        except (LookupError, TypeError, ValueError) as error:
            self.close()
            raise NotesDamaged(f"{CUTS} of {folder.name} does not add up: {error!r}") from error

    def _replay(self) -> int:
        """Takes in what is there; cuts off a torn tail. Returns the size of what is good."""
        good = 0
        with open(self.folder / CUTS, "rb") as lines:
            for line in lines:
                note = _checked(line)
                if note is None:
                    break
                good += len(line)
                self._take_in(note)
        os.ftruncate(self._file, good)
        return good

    def _take_in(self, note: dict[str, Any]) -> None:
        if "progress" in note:
            self.progress = Progress(**note["progress"])
            for number in note["last"]:
                self.numbering.seen(Number(*number))
        elif "settled" in note:
            self.progress = self.progress.settled(self.unsettled.pop(0), note["refused"])
        else:
            numbers = tuple(Number(*number) for number in note.pop("numbers"))
            for number in numbers:
                self.numbering.seen(number)
            self.unsettled.append(Cut(numbers=numbers, **note))

    def write(self, cut: Cut) -> None:
        """The cut marker: on the disk, with the rows it is about, before the first of its frames is sent."""
        for base in segments.bases(self.folder)[-2:]:
            _sync(segments.path_of(self.folder, base))
        self.unsettled.append(cut)
        self._append(_cut_note(cut))
        os.fdatasync(self._file)

    def settle(self, cut: Cut, refused: Mapping[str, int]) -> None:
        """The oldest cut is through: progress, and the segments before it are no longer needed."""
        assert self.unsettled[0] is cut, "cuts settle in order"
        self.unsettled.pop(0)
        self.progress = self.progress.settled(cut, refused)
        self._append({"settled": cut.cut, "refused": dict(refused)})
        if self._size > self._rewrite_bytes:
            self._rewrite()
        known = segments.bases(self.folder)
        for base, following in pairwise(known):
            if following <= self.progress.end:
                segments.path_of(self.folder, base).unlink()

    def _append(self, note: dict[str, Any]) -> None:
        """Raises OSError on a full disk; a note that stands there in part is then the last one, and read as none."""
        line = _line(note)
        _write_all(self._file, line)
        self._size += len(line)

    def _rewrite(self) -> None:
        last = [[n.model, n.partition, n.frame_no] for n in self.numbering.state()]
        notes = [{"progress": asdict(self.progress), "last": last}, *map(_cut_note, self.unsettled)]
        # Numbers of the unsettled cuts are in `last` already; taking them in again changes nothing.
        data = b"".join(map(_line, notes))
        fresh = self.folder / (CUTS + ".new")
        file = os.open(fresh, os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            _write_all(file, data)
            os.fdatasync(file)
            os.replace(fresh, self.folder / CUTS)
        except OSError:
            os.close(file)
            fresh.unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file, self._size = file, len(data)

    def reject(self, name: str, value: bytes) -> bool:
        """Keeps a frame that the broker refuses, for a person to look at; false when the folder is full."""
        folder = self.folder.parent / REJECTED
        folder.mkdir(exist_ok=True)
        if sum(path.stat().st_size for path in folder.iterdir()) + len(value) > self._reject_bytes:
            return False
        (folder / f"{name.replace('/', '_')}.binpb").write_bytes(value)
        return True

    def publish(self, accepted: int) -> None:
        """Lets the service see the books, which it sends with its heartbeat; on a full disk a little later."""
        with suppress(OSError):
            _replace(self.folder / BOOKS, self.progress.books(self.spool_id, accepted))

    def retire(self, accepted: int) -> None:
        """A dead spool is through: its books stay, its folder goes."""
        closed = self.folder.parent / CLOSED
        closed.mkdir(exist_ok=True)
        _replace(closed / f"{self.spool_id}.json", self.progress.books(self.spool_id, accepted))
        for old in sorted(closed.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEEP_CLOSED]:
            old.unlink(missing_ok=True)
        shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)


def spools(root: Path) -> list[Path]:
    """Folders of spools, living and dead, oldest first."""
    found = [path.parent for path in root.glob(f"*/{LOCK}")] if root.exists() else []
    return sorted(found, key=lambda path: path.stat().st_ctime)


def read_books(root: Path) -> dict[str, Books]:
    """The books as shippers last wrote them, by spool id: of spools that are there, and of those that are gone."""
    books = {}
    for path in [*root.glob(f"*/{BOOKS}"), *root.glob(f"{CLOSED}/*.json")] if root.exists() else []:
        try:
            found = Books(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            continue  # closed between the look and the read, or not whole after a power cut
        books[found.spool_id] = found
    return books


def _cut_note(cut: Cut) -> dict[str, Any]:
    note = asdict(cut)
    note["numbers"] = [[n.model, n.partition, n.frame_no] for n in cut.numbers]
    return note


def _line(note: Mapping[str, Any]) -> bytes:
    text = json.dumps(note, separators=(",", ":")).encode()
    return b"%08x %s\n" % (google_crc32c.value(text), text)


def _checked(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % google_crc32c.value(text[:-1]):
        return None
    note: dict[str, Any] = json.loads(text)
    return note


def _replace(path: Path, books: Books) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(books.as_dict()))
    os.replace(fresh, path)


def _write_all(file: int, content: bytes) -> None:
    """A disk that is nearly full takes a part and calls that a success."""
    written = os.write(file, content)
    if written != len(content):
        raise OSError(errno.ENOSPC, f"{written} of {len(content)} bytes written: {os.strerror(errno.ENOSPC)}")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
