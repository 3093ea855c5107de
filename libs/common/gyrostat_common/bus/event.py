"""What travels on the log: an Event as its sender makes it, and as its receiver gets it. Who hears it: routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from google.protobuf.message import Message

from gyrostat_common.ids import uuid7


def _new_id() -> str:
    return str(uuid7())


@dataclass(frozen=True, kw_only=True)
class Event:
    """A CloudEvent with a protobuf payload. The topic comes from the option on the payload's message."""

    payload: Message
    key: str | None
    """Record key; None only for topics without order."""
    subject: str
    """What it is about, e.g. "flights:4"."""
    source: str
    """Who says it, e.g. "gyrostat-registry"; (source, id) is the dedup key."""
    time: datetime
    """When it happened, aware; wall time unless the event says otherwise."""
    id: str = field(default_factory=_new_id)
    correlation_id: str = ""
    """The loop: id of its first cause."""
    causation_id: str = ""
    """Id of the parent event."""
    traceparent: str = ""
    """Trace it belongs to; empty: the current one when it is sent or put into the outbox."""
    links: tuple[str, ...] = ()
    """Further traceparents that the send span links to (a micro-batch has many parents). Not on the wire."""
    partition: int | None = None
    """None: chosen by the key."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """An event and where it lay."""

    event: Event
    topic: str
    """Name without the site's prefix."""
    partition: int
    offset: int
    timestamp_ms: int
    """Wall time that Kafka has for it."""


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """A null value: the key's state is gone. Only state readers meet it."""

    key: str | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int


@dataclass(frozen=True)
class Held:
    """A key of state whose newest record cannot be handled: readers keep what they had of the key."""

    topic: str
    """Name without the site's prefix."""
    partition: int
    offset: int
    key: bytes | None
    reason: str

    @property
    def shown_key(self) -> str:
        """For people; bytes that are no text are escaped."""
        return "" if self.key is None else self.key.decode(errors="backslashreplace")

    def __str__(self) -> str:
        place = f"{self.topic}/{self.partition} offset {self.offset}"
        return f"{place}, key {self.shown_key}, cannot be handled: {self.reason}"


@dataclass(frozen=True)
class Position:
    """How far a group is in a partition: it goes on at `at`, and the log ends at `end`."""

    group: str
    topic: str
    """Name without the site's prefix."""
    partition: int
    at: int
    end: int

    @property
    def waiting(self) -> int:
        """Records not committed yet."""
        return max(0, self.end - self.at)


Handler = Callable[[Received], Awaitable[object]]
BatchHandler = Callable[[list[Received]], Awaitable[object]]
StateHandler = Callable[[Received | Tombstone], Awaitable[object]]
OnHeld = Callable[[Held], None]


@dataclass(frozen=True)
class Route:
    """Events of one message go to one handler, one by one or as they were fetched.

    A handler is idempotent and raises errors of `gyrostat_common.errors`; the kind decides what becomes of the record.
    A batch holds records of one topic, in order within each partition; when it fails for good it is tried again record
    by record to find the culprit.
    """

    message: type[Message]
    handle: Handler | None = None
    handle_batch: BatchHandler | None = None

    def __post_init__(self) -> None:
        if (self.handle is None) == (self.handle_batch is None):
            raise ValueError("a route has either handle or handle_batch")


class Producer(Protocol):
    """Sends events."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent at the moment; None when nothing is known to be wrong."""
        ...

    async def send(self, event: Event) -> tuple[int, int]:
        """(partition, offset), after the log has it for good. Waits while the broker is down. Raises InvalidInput
        when the broker will never take it (too large)."""
        ...


class Consumer(Protocol):
    """A running consumer."""

    @property
    def problem(self) -> str | None:
        """Why it has stopped for good, or that it stands still; None when it runs."""
        ...


class StateReader(Protocol):
    """A running reader of a compacted topic."""

    @property
    def caught_up(self) -> Any:
        """asyncio.Event: everything that lay in the topic at the start has been handled, or holds its key."""
        ...

    @property
    def problem(self) -> str | None:
        """Which key is held and why, or why the reader has stopped for good; None when all is well."""
        ...

    @property
    def held(self) -> tuple[Held, ...]:
        """The keys that are held now."""
        ...


class Bus(Protocol):
    """The log: Kafka (`open`) or in memory (`MemoryBus`). Both pass one contract suite."""

    def producer(self) -> AbstractAsyncContextManager[Producer]: ...

    def consume(
        self, group: str, routes: Sequence[Route], *, max_records: int = 500
    ) -> AbstractAsyncContextManager[Consumer]:
        """Runs while the block does. A handled record is committed after its handler has returned."""
        ...

    def read_state(
        self, message: type[Message], handle: StateHandler, on_held: OnHeld | None = None
    ) -> AbstractAsyncContextManager[StateReader]:
        """Hands over every record of a compacted topic from its beginning, then what comes. A record that cannot be
        handled holds its key alone; `on_held` is told of each once."""
        ...

    async def lag(self, group: str) -> dict[str, int]:
        """Topic → records that the group has not committed yet."""
        ...

    async def positions(self, groups: Sequence[str]) -> list[Position]:
        """How far these groups are, also in topics of theirs of which they have committed nothing yet. A group that we
        may not look at is left out. Raises Unavailable while Kafka is down."""
        ...
