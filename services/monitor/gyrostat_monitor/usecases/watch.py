"""No silence: missing predictions, consumers of any service that stand still or have stopped, and state that cannot be
read are alerts. Wall time alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gyrostat_monitor.domain.alerts import (
    CRITICAL,
    UNREADABLE,
    WARNING,
    Alert,
    Firing,
    Stand,
    Unreadable,
    id_of,
    stuck_consumer,
    unreadable_state,
)
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Announcer, Stores
from gyrostat_monitor.usecases.queries import coverage_and_lag


@dataclass(frozen=True)
class Limits:
    """When silence becomes an alert, seconds of wall time."""

    no_predictions_s: float = 300.0
    stuck_s: float = 120.0


@dataclass(frozen=True)
class Figures:
    """What a model's gauges show."""

    model: str
    coverage: float
    lag_s: float
    open_kinds: frozenset[tuple[int, str]]


class Consumers(Protocol):
    """The consumer groups of every service as the log has them, and the monitor's own consumers."""

    async def stands(self) -> Sequence[Stand]:
        """Where every group stands, as far as the monitor may see it."""
        ...

    def stopped(self) -> Mapping[str, str]:
        """Consumer of ours → why it has stopped, or none of its fetches ends."""
        ...

    def names(self) -> Sequence[str]:
        """The consumers of ours."""
        ...

    def unreadable(self) -> Sequence[Unreadable] | None:
        """State that cannot be read now or could not since the last look; None while nobody can know."""
        ...


class Watch:
    """Looked at every few seconds."""

    def __init__(
        self, stores: Stores, announcer: Announcer, known: Known, consumers: Consumers, limits: Limits
    ) -> None:
        self._records, self._history, self._announcer = stores.records, stores.history, announcer
        self._known, self._limits, self._consumers = known, limits, consumers
        self._moved: dict[tuple[str, int], tuple[int, int]] = {}
        self._waiting: dict[str, int] = {}
        self._since: dict[str, int] | None = None
        self._firing: dict[str, Firing] = {}
        self._live: dict[str, int] = {}

    async def look(self) -> tuple[dict[str, float], list[Figures]]:
        """(place → seconds without movement while records wait, figures per model); raises and settles alerts."""
        now = self._known.now_us()
        stands = await self._consumers.stands()
        still = self._still(stands, now)
        async with self._records.transaction():
            if self._since is None:
                self._since = await self._records.firing_alerts()
            for place, (stand, seconds) in sorted(still.items()):
                await self._tell(stuck_consumer(stand, seconds), place, seconds > self._limits.stuck_s, now)
            await self._stopped(now)
            await self._unreadable(now)
            for plan in self._known.plans:
                if plan.champion:
                    await self._silence(plan.model, now)
        behind = {place: seconds for place, (_, seconds) in still.items()}
        return behind, [await self._figures(plan.model) for plan in self._known.plans]

    def firing(self) -> list[Firing]:
        """The alerts that fire, oldest first, as of the last look."""
        return sorted(self._firing.values(), key=lambda one: (one.since_us, one.alert.id))

    def waiting(self) -> Mapping[str, int]:
        """Topic → most records waiting in any of the monitor's groups, as of the last look."""
        return self._waiting

    def _still(self, stands: Sequence[Stand], now: int) -> dict[str, tuple[Stand, float]]:
        """Place → its partition that has stood still longest with records waiting, and for how many seconds."""
        worst: dict[str, tuple[Stand, float]] = {}
        waiting: dict[str, dict[str, int]] = {}
        for stand in stands:
            at = (stand.place, stand.partition)
            before = self._moved.get(at)
            if before is None or before[0] != stand.at or not stand.waiting:
                self._moved[at] = (stand.at, now)
            seconds = (now - self._moved[at][1]) / 1e6
            if stand.place not in worst or seconds > worst[stand.place][1]:
                worst[stand.place] = (stand, seconds)
            if stand.group.partition(".")[0] == "monitor":
                of_topic = waiting.setdefault(stand.topic, {})
                of_topic[stand.group] = of_topic.get(stand.group, 0) + stand.waiting
        self._waiting = {topic: max(groups.values()) for topic, groups in waiting.items()}
        return worst

    async def _stopped(self, now: int) -> None:
        stopped = self._consumers.stopped()
        for name in self._consumers.names():
            text = f"{name} has stopped: {stopped[name]}" if name in stopped else ""
            alert = Alert("consumer stopped", name, "", CRITICAL, text, {"reason": stopped.get(name, "")})
            await self._tell(alert, name, bool(text), now)

    async def _unreadable(self, now: int) -> None:
        found = self._consumers.unreadable()
        if found is None:
            return
        alerts = {alert.id: alert for alert in map(unreadable_state, found)}
        for alert in alerts.values():
            await self._tell(alert, alert.subject, True, now)
        for gone in (self._since or {}).keys() - alerts.keys():
            if gone.startswith(id_of(UNREADABLE, "")):
                subject = gone.removeprefix(id_of(UNREADABLE, ""))
                await self._tell(Alert(UNREADABLE, subject, "", CRITICAL, ""), subject, False, now)

    async def _silence(self, model: str, now: int) -> None:
        streams = await self._records.streams(model)
        quiet_s = (now - max([s.seen_us for s in streams.values()], default=self._live.setdefault(model, now))) / 1e6
        text = f"no prediction of {model} for {quiet_s:.0f} s"
        alert = Alert("no predictions", model, model, WARNING, text, {"quiet_s": f"{quiet_s:.0f}"})
        await self._tell(alert, model, quiet_s > self._limits.no_predictions_s, now)

    async def _tell(self, alert: Alert, subject: str, firing: bool, now: int) -> None:
        """An alert when it begins and when it ends; remembers what fires."""
        assert self._since is not None
        owner = self._known.policy(alert.model).owner
        if await self._records.alert_changed(alert.id, firing, now):
            said = alert if firing else Alert(alert.rule, subject, alert.model, alert.severity, f"over: {subject}")
            await self._announcer.alert(said, owner, firing)
        if firing:
            self._firing[alert.id] = Firing(alert, owner, self._since.setdefault(alert.id, now))
        else:
            self._since.pop(alert.id, None)
            self._firing.pop(alert.id, None)

    async def _figures(self, model: str) -> Figures:
        opened = frozenset((e.version, str(e.kind)) for e in await self._history.open_episodes(model))
        coverage, lag_s = coverage_and_lag(await self._records.counters(model))
        return Figures(model, coverage, lag_s, opened)
