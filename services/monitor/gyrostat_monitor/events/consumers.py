"""How far the monitor's consumers are: records waiting, records handled, and why one has stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from gyrostat_common.bus import Bus, Consumer, Received, StateReader
from gyrostat_common.errors import GyrostatError

PATIENCE_S = 5.0


class Consumers:
    """Fits usecases.watch.Consumers. Places are `<group>/<topic>`."""

    def __init__(self, events: Bus, groups: Sequence[str]) -> None:
        self._events, self._groups = events, groups
        self._running: dict[str, Consumer | StateReader] = {}
        self._handled: Counter[str] = Counter()
        self._last: dict[str, int] = {}

    def add(self, name: str, consumer: Consumer | StateReader) -> None:
        """A consumer that runs now."""
        self._running[name] = consumer

    def count(self, group: str, batch: Sequence[Received]) -> None:
        """A batch has been handled."""
        if batch:
            self._handled[f"{group}/{batch[0].topic}"] += len(batch)

    def handled(self) -> Mapping[str, int]:
        """Place → records handled since the start."""
        return self._handled

    def problems(self) -> Mapping[str, str]:
        """Consumer → why it has stopped for good."""
        return {name: consumer.problem for name, consumer in self._running.items() if consumer.problem}

    async def lag(self) -> Mapping[str, int]:
        """Place → records waiting, asked of the log now; what was known before when it does not answer."""
        found: dict[str, int] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                for group in self._groups:
                    for topic, records in (await self._events.lag(group)).items():
                        found[f"{group}/{topic}"] = records
        except (GyrostatError, TimeoutError):
            return self._last
        self._last = found
        return found

    async def waiting(self) -> Mapping[str, int]:
        """Topic → most records waiting in any group, as of the last look."""
        topics: dict[str, int] = {}
        for place, records in self._last.items():
            topic = place.partition("/")[2]
            topics[topic] = max(topics.get(topic, 0), records)
        return topics
