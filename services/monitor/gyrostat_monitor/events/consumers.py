"""How far the groups of every service are, why a consumer of the monitor's own has stopped, and what cannot be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from gyrostat_common.bus import Bus, Consumer, Held, StateReader
from gyrostat_common.errors import GyrostatError
from gyrostat_monitor.domain.alerts import Stand, Unreadable

PATIENCE_S = 5.0


class Consumers:
    """Fits usecases.watch.Consumers."""

    def __init__(self, events: Bus, groups: Sequence[str]) -> None:
        self._events, self._groups = events, groups
        self._running: dict[str, Consumer | StateReader] = {}
        self._state: StateReader | None = None
        self._met: deque[Held] = deque(maxlen=100)
        self._last: list[Stand] = []

    def add(self, name: str, consumer: Consumer) -> None:
        """A consumer that runs now."""
        self._running[name] = consumer

    def reads(self, name: str, state: StateReader) -> None:
        """The reader of state that runs now."""
        self._running[name] = self._state = state

    def on_held(self, held: Held) -> None:
        """A record cannot be read; it may be mended before anybody looks."""
        self._met.append(held)

    def names(self) -> Sequence[str]:
        """The consumers of ours."""
        return list(self._running)

    def problems(self) -> Mapping[str, str]:
        """Consumer → what is wrong with it."""
        return {name: consumer.problem for name, consumer in self._running.items() if consumer.problem}

    def stopped(self) -> Mapping[str, str]:
        """The problems but for keys of state that are held: those are told one by one."""
        held = self._state is not None and self._state.held
        return {name: said for name, said in self.problems().items() if not held or self._running[name] != self._state}

    def unreadable(self) -> Sequence[Unreadable] | None:
        """State that cannot be read now or could not since the last look."""
        if self._state is None or not self._state.caught_up.is_set():
            return None
        found = dict.fromkeys((*self._state.held, *self._met))
        self._met.clear()
        return [Unreadable(one.topic, one.partition, one.offset, one.shown_key, one.reason) for one in found]

    async def stands(self) -> Sequence[Stand]:
        """Asked of the log now; what was known before when it does not answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await self._events.positions(self._groups)
        except (GyrostatError, TimeoutError):
            return self._last
        self._last = [Stand(one.group, one.topic, one.partition, one.at, one.waiting) for one in found]
        return self._last
