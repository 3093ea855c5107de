"""Takes records to their handlers and decides what becomes of each: done, tried again in place, a dead letter.

The same for Kafka and for the bus in memory. Verdict by kind of error: AlreadyExists done; InvalidInput, NotFound and
WrongState dead letter; Overloaded pause and Unavailable back off, both without an end; any other error three tries.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from gyrostat_common import telemetry
from gyrostat_common.bus import codec, contract
from gyrostat_common.bus.event import Received, Route, Tombstone
from gyrostat_common.bus.spans import processing
from gyrostat_common.errors import AlreadyExists, Overloaded, Unavailable, kind_of

log = telemetry.get_logger("bus")
handled_total = telemetry.counter(
    "gyrostat_consumer_records", "Records by what became of them", ("group", "topic", "outcome")
)


@dataclass(frozen=True)
class Retries:
    """How patient a consumer is."""

    first_s: float = 0.1
    most_s: float = 10.0
    tries: int = 3
    """For errors that are not ours."""
    in_place_s: float = 60.0
    """For errors that pass. After that the records are given back and fetched again: the broker sees us alive."""
    dead_letters: int = 100
    """More than this within `window_s`, and the consumer stops rather than empty the topic into the dead letters."""
    window_s: float = 600.0
    still_s: float = 120.0
    """A loop that completes no fetch for so long is told as a problem, and a fetch that takes so long is begun anew."""


class Verdict(Enum):
    DONE = "done"
    DEAD = "dead_letter"
    AGAIN = "again"
    """Give the record back: out of patience for now, or the partition is being taken away."""


class ConsumerStopped(Exception):
    """The consumer ends for good; the message says why and what to do. `done` records of the batch were handled."""

    done = 0


DeadLetter = Callable[[codec.Incoming, BaseException, int], Awaitable[None]]


class Dispatcher:
    """One per consumer. `dead_letter(record, error, tries)` returns when the log has the dead letter."""

    def __init__(self, group: str, routes: Sequence[Route], dead_letter: DeadLetter, retries: Retries) -> None:
        self.group = group
        self.routes = {contract.of_message(route.message).name: route for route in routes}
        if len(self.routes) != len(routes):
            raise ValueError("two routes for one message")
        self.interrupted = asyncio.Event()
        """Set while somebody wants the records back."""
        self._dead_letter, self._retries = dead_letter, retries
        self._recent: deque[float] = deque(maxlen=retries.dead_letters + 1)

    async def process(self, records: Sequence[codec.Incoming]) -> int:
        """Handles records of one topic, in order. Returns how many from the front are done with; fewer than given
        means: fetch the rest again. Raises ConsumerStopped."""
        topic = records[0].topic
        done = 0
        while done < len(records):
            received, poison = self._decoded(records[done:])
            try:
                if received:
                    handled = await self._handle(topic, records[done : done + len(received)], received)
                    done += handled
                    if handled < len(received):
                        break
                if poison is not None:
                    await self._put_aside(records[done], poison, 1)
                    done += 1
            except ConsumerStopped as stopped:
                stopped.done += done
                raise
        return done

    def _decoded(self, records: Sequence[codec.Incoming]) -> tuple[list[Received], BaseException | None]:
        """The records up to the first that cannot be decoded, and what is wrong with that one."""
        received: list[Received] = []
        for record in records:
            try:
                event = codec.decode(record)
            except codec.Undecodable as error:
                return received, error
            if isinstance(event, Tombstone):
                return received, codec.Undecodable("the record has no value; only state topics have tombstones")
            received.append(event)
        return received, None

    async def _handle(self, topic: str, records: Sequence[codec.Incoming], received: list[Received]) -> int:
        route = self.routes[topic]
        batch_handler = route.handle_batch
        if batch_handler is not None:
            verdict, error, tries = await self._until_verdict(topic, received, lambda: batch_handler(received))
            if verdict is Verdict.AGAIN:
                return 0
            if verdict is Verdict.DONE and not isinstance(error, AlreadyExists):
                handled_total.labels(self.group, topic, "done").inc(len(received))
                return len(received)
            if len(received) == 1:
                await self._settle(records[0], verdict, error, tries)
                return 1
        return await self._handle_each(route, topic, records, received)

    async def _handle_each(
        self, route: Route, topic: str, records: Sequence[codec.Incoming], received: list[Received]
    ) -> int:
        batch_handler, handler = route.handle_batch, route.handle
        for done, (record, one) in enumerate(zip(records, received, strict=True)):
            call = (lambda one=one: batch_handler([one])) if batch_handler else (lambda one=one: handler(one))  # type: ignore
            verdict, error, tries = await self._until_verdict(topic, [one], call)
            if verdict is Verdict.AGAIN:
                return done
            try:
                await self._settle(record, verdict, error, tries)
            except ConsumerStopped as stopped:
                stopped.done = done
                raise
            if self.interrupted.is_set():
                return done + 1
        return len(received)

    async def _settle(self, record: codec.Incoming, verdict: Verdict, error: BaseException | None, tries: int) -> None:
        if verdict is Verdict.DEAD:
            assert error is not None
            await self._put_aside(record, error, tries)
        else:
            handled_total.labels(self.group, record.topic, "done" if error is None else "already_done").inc()

    async def _until_verdict(
        self, topic: str, received: list[Received], call: Callable[[], Awaitable[object]]
    ) -> tuple[Verdict, BaseException | None, int]:
        """Calls until there is a verdict. Returns it with the last error and the number of tries."""
        tries, delay = 0, self._retries.first_s
        loop = asyncio.get_running_loop()
        until = loop.time() + self._retries.in_place_s
        while True:
            tries += 1
            try:
                with processing(topic, self.group, received):
                    await call()
                return Verdict.DONE, None, tries
            except Exception as error:  # whatever a handler raises becomes a verdict about its record
                kind = kind_of(error)
                if kind is AlreadyExists:
                    return Verdict.DONE, error, tries
                for_now = kind in (Overloaded, Unavailable)
                self._tell(topic, received, error, tries, for_now)
                if not for_now and (kind is not None or tries >= self._retries.tries):
                    return Verdict.DEAD, error, tries
                interrupted = await self._interrupted_within(delay * random.uniform(0.5, 1.0))
                # Tries that have an end are never given up for their time: counted anew, they would have none.
                if interrupted or (for_now and loop.time() > until):
                    return Verdict.AGAIN, error, tries
                delay = min(delay * 2, self._retries.most_s)

    def _tell(self, topic: str, received: list[Received], error: Exception, tries: int, for_now: bool) -> None:
        first = received[0]
        log.warning(
            "record_not_handled" if len(received) == 1 else "batch_not_handled",
            group=self.group,
            topic=topic,
            partition=first.partition,
            offset=first.offset,
            records=len(received),
            tries=tries,
            error=type(error).__name__,
            detail=str(error)[:500],
            exc_info=None if kind_of(error) else error,
        )

    async def _interrupted_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.interrupted.wait()
            return True
        except TimeoutError:
            return False

    async def _put_aside(self, record: codec.Incoming, error: BaseException, tries: int) -> None:
        topic = contract.of_topic(record.topic)
        place = f"{record.topic}/{record.partition} offset {record.offset}"
        if topic is not None and topic.compacted:
            raise ConsumerStopped(f"{place} is state and cannot be handled: {error}; repair it and restart")
        now = asyncio.get_running_loop().time()
        self._recent.append(now)
        if len(self._recent) > self._retries.dead_letters and self._recent[0] > now - self._retries.window_s:
            raise ConsumerStopped(
                f"{self._retries.dead_letters} records of {self.group} became dead letters within "
                f"{self._retries.window_s:g} s, the last at {place}: {error}; find the cause and restart"
            )
        await self._dead_letter(record, error, tries)
        handled_total.labels(self.group, record.topic, "dead_letter").inc()
        log.error(
            "dead_letter",
            group=self.group,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            tries=tries,
            error=type(error).__name__,
            detail=str(error)[:500],
        )


def dead_letter_of(group: str, record: codec.Incoming, error: BaseException, tries: int) -> codec.Outgoing:
    """The original bytes and headers, and why, where and how often."""
    reasons = {
        "dlq_group": group,
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
        "dlq_timestamp_ms": str(record.timestamp_ms),
        "dlq_error": type(error).__name__,
        "dlq_detail": str(error)[:4000],
        "dlq_tries": str(tries),
    }
    return codec.Outgoing(
        topic=contract.dead_letters(group).name,
        key=record.key,
        value=b"" if record.key is None and record.value is None else record.value,  # aiokafka wants one of them
        headers=record.headers + tuple((name, text.encode()) for name, text in reasons.items()),
    )
