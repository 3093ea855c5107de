"""What somebody must look at: where each group stands in the log, what cannot be read there, and the alert about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WARNING, CRITICAL = "warning", "critical"
UNREADABLE = "unreadable state"


@dataclass(frozen=True)
class Stand:
    """Where a consumer group stands in one partition."""

    group: str
    topic: str
    partition: int
    at: int
    """Offset it goes on at."""
    waiting: int
    """Records from there to the end."""

    @property
    def place(self) -> str:
        """`<group>/<topic>`"""
        return f"{self.group}/{self.topic}"


@dataclass(frozen=True)
class Unreadable:
    """A key of state whose newest record cannot be read; everybody keeps what they had of it."""

    topic: str
    partition: int
    offset: int
    key: str
    reason: str

    @property
    def model(self) -> str:
        """The model of a key `environment/model`; empty for other keys."""
        return self.key.partition("/")[2]


@dataclass(frozen=True)
class Alert:
    """About one rule and subject. `evidence` is what was seen, by name."""

    rule: str
    subject: str
    model: str
    severity: str
    summary: str
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Stable per rule and subject.

        >>> Alert("stuck consumer", "monitor/outcome.recorded", "", CRITICAL, "").id
        'stuck-consumer/monitor/outcome.recorded'
        """
        return id_of(self.rule, self.subject)


@dataclass(frozen=True)
class Firing:
    """An alert that fires now. `since_us` is wall time."""

    alert: Alert
    owner: str
    since_us: int


def id_of(rule: str, subject: str) -> str:
    """The id of an alert."""
    return f"{rule}/{subject}".replace(" ", "-")


def unreadable_state(found: Unreadable) -> Alert:
    """The alert about a key that cannot be read."""
    where = f"{found.topic}/{found.partition} offset {found.offset}"
    return Alert(
        UNREADABLE, f"{found.topic}/{found.key}", found.model, CRITICAL,
        f"{where}, key {found.key}, cannot be read: {found.reason}; what was known of the key stays in force. The "
        f"registry writes over its own keys; for others: `gyrostat topics repair {found.topic}`",
        {"topic": found.topic, "partition": str(found.partition), "offset": str(found.offset), "key": found.key,
         "reason": found.reason},
    )  # fmt: skip


def stuck_consumer(stand: Stand, still_s: float) -> Alert:
    """The alert about a group that stands still with records waiting."""
    return Alert(
        "stuck consumer", stand.place, "", CRITICAL,
        f"{stand.group} has not moved for {still_s:.0f} s with {stand.waiting:,} records of "
        f"{stand.topic}/{stand.partition} waiting from offset {stand.at}; the log of {stand.group.partition('.')[0]} "
        "says why, else restart it",
        {"group": stand.group, "topic": stand.topic, "partition": str(stand.partition), "offset": str(stand.at),
         "records": str(stand.waiting), "still_s": f"{still_s:.0f}"},
    )  # fmt: skip
