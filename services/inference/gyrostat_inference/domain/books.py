"""The books of a spool, in rows: accepted = logged + sampled out + waiting + dropped, exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Books:
    """What became of every row that a spool accepted."""

    spool_id: str
    accepted: int = 0
    logged: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        return self.accepted - self.logged - self.sampled_out - sum(self.dropped.values())

    def as_dict(self) -> dict[str, object]:
        return {
            "spool_id": self.spool_id,
            "accepted": self.accepted,
            "logged": self.logged,
            "sampled_out": self.sampled_out,
            "dropped": dict(self.dropped),
        }


def added(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason, summed."""
    return {
        reason: left.get(reason, 0) + right.get(reason, 0) for reason in [*left, *(r for r in right if r not in left)]
    }


@dataclass(frozen=True, slots=True)
class Written:
    """What a living writer says of its spool; the shipper's count may be older."""

    spool_id: str
    accepted: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


def joined(shipped: Mapping[str, Books], written: Iterable[Written]) -> list[Books]:
    """Every spool once: as its shipper counted it, with what its writer has taken in since.

    A writer's word that is older than the shipper's changes nothing. What the shipper dropped, e.g. frames that the
    broker refused, its writer does not know of.
    """
    books = dict(shipped)
    for spool in written:
        seen = books.get(spool.spool_id, Books(spool.spool_id))
        if spool.accepted < seen.accepted:
            continue
        refused = {reason: rows for reason, rows in seen.dropped.items() if reason not in spool.dropped}
        books[spool.spool_id] = Books(
            spool.spool_id, spool.accepted, seen.logged, spool.sampled_out, added(spool.dropped, refused)
        )
    return list(books.values())


def rows_waiting(books: Iterable[Books]) -> int:
    return sum(each.waiting for each in books)
