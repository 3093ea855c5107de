"""Takes records of state to their handler. One that cannot be read or handled holds its key, and nothing else: the key
stays as it was, the other keys go on, and the reader says so until a newer record of the key can be handled.

The same for Kafka and for the bus in memory. Why not stop, and why not skip: docs/adr/0080.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gyrostat_common import telemetry
from gyrostat_common.bus import codec
from gyrostat_common.bus.dispatch import Retries
from gyrostat_common.bus.event import Held, OnHeld, Received, StateHandler, Tombstone
from gyrostat_common.bus.spans import processing
from gyrostat_common.errors import AlreadyExists, Overloaded, Unavailable, kind_of

log = telemetry.get_logger("bus.state")
held_keys = telemetry.gauge(
    "gyrostat_state_held_keys", "Keys held as they were, because their newest record cannot be handled", ("topic",)
)
unreadable_total = telemetry.counter(
    "gyrostat_state_unreadable_records", "Records of state that could not be handled", ("topic",)
)

MOST_HELD = 1_000
AGAIN_S = 30.0


class StateStopped(Exception):
    """So many keys are held that this cannot be the topic it should be; the reader ends for good."""


@dataclass(frozen=True)
class _Kept:
    """A held key; `state` is kept when the record could be decoded: its handler may take it later."""

    held: Held
    state: Received | Tombstone | None


class StateKeys:
    """One per reader of state. `caught_up` is set by the reader; before that nothing is told, since what comes next in
    the log may have mended it long ago."""

    def __init__(
        self, topic: str, handle: StateHandler, retries: Retries, on_held: OnHeld | None, now: Callable[[], float]
    ) -> None:
        self.caught_up = asyncio.Event()
        self._topic, self._handle, self._retries, self._on_held, self._now = topic, handle, retries, on_held, now
        self._kept: dict[bytes | None, _Kept] = {}
        self._told: dict[int, int] = {}
        self._again_at = 0.0
        held_keys.labels(topic).set(0)

    @property
    def held(self) -> tuple[Held, ...]:
        """Keys that are held now, oldest record first; nothing until the topic was read to its end once."""
        if not self.caught_up.is_set():
            return ()
        return tuple(sorted((kept.held for kept in self._kept.values()), key=lambda h: (h.partition, h.offset)))

    @property
    def problem(self) -> str | None:
        """What is held, in a sentence; None when nothing is."""
        held = self.held
        if not held:
            return None
        more = f" (and {len(held) - 1} more keys)" if len(held) > 1 else ""
        return f"{held[0]}{more}; the key stays as it was: `gyrostat topics repair {self._topic}`"

    def now_caught_up(self) -> None:
        """Everything that lay in the topic at the start has been taken."""
        self.caught_up.set()
        for held in self.held:
            self._tell(held)

    async def take(self, record: codec.Incoming) -> None:
        """Handles one record, or holds its key. Raises StateStopped."""
        try:
            state = codec.decode(record)
        except codec.Undecodable as error:
            held = Held(record.topic, record.partition, record.offset, record.key, _why(error))
            self._keep(record.key, _Kept(held, None))
            return
        await self._settle(record.key, state)

    async def again(self) -> None:
        """Tries once more, every half minute, what could be decoded and not be handled."""
        if not self._kept or self._now() < self._again_at:
            return
        self._again_at = self._now() + AGAIN_S
        for key, kept in list(self._kept.items()):
            if kept.state is not None:
                await self._settle(key, kept.state)

    async def _settle(self, key: bytes | None, state: Received | Tombstone) -> None:
        error = await self._handled(state)
        if error is not None:
            held = Held(state.topic, state.partition, state.offset, key, _why(error))
            self._keep(key, _Kept(held, state))
        elif self._kept.pop(key, None) is not None:
            held_keys.labels(self._topic).set(len(self._kept))
            log.info("state_key_released", topic=self._topic, key=shown(key), offset=state.offset)

    async def _handled(self, state: Received | Tombstone) -> Exception | None:
        """None when the handler took it, else why it never will. Waits out what may pass."""
        tries, delay = 0, self._retries.first_s
        while True:
            tries += 1
            try:
                if isinstance(state, Tombstone):
                    await self._handle(state)
                else:
                    with processing(self._topic, "state", [state]):
                        await self._handle(state)
                return None
            except Exception as error:  # whatever it is, it holds this key and must not end the reader
                kind = kind_of(error)
                if kind is AlreadyExists:
                    return None
                if kind not in (Unavailable, Overloaded) and (kind is not None or tries >= self._retries.tries):
                    return error
                log.warning("state_not_handled", topic=self._topic, offset=state.offset, tries=tries, error=repr(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._retries.most_s)

    def _keep(self, key: bytes | None, kept: _Kept) -> None:
        before = self._kept.get(key)
        self._kept[key] = kept
        held_keys.labels(self._topic).set(len(self._kept))
        if len(self._kept) > MOST_HELD:
            raise StateStopped(f"{kept.held}, as those of {MOST_HELD} other keys: is this the right Kafka and prefix?")
        if before is None or before.held.offset != kept.held.offset:
            unreadable_total.labels(self._topic).inc()
        if self.caught_up.is_set():
            self._tell(kept.held)

    def _tell(self, held: Held) -> None:
        """Once for each record, also when a new connection reads the topic from its beginning."""
        if held.offset <= self._told.get(held.partition, -1):
            return
        self._told[held.partition] = held.offset
        log.error("state_key_held", topic=held.topic, partition=held.partition, offset=held.offset,
                  key=shown(held.key), reason=held.reason)  # fmt: skip
        if self._on_held is not None:
            self._on_held(held)


def shown(key: bytes | None) -> str:
    """A key for people; bytes that are no text are escaped.

    >>> shown(b"production/fraud"), shown(b"\\xff"), shown(None)
    ('production/fraud', '\\\\xff', '')
    """
    return "" if key is None else key.decode(errors="backslashreplace")


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:500]
