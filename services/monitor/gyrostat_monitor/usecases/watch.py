"""No silence: missing predictions, a stuck consumer and full dead letters are alerts. Wall time alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
    """The monitor's own consumers. Places are `<group>/<topic>`."""

    async def lag(self) -> Mapping[str, int]:
        """Place → records waiting."""
        ...

    def handled(self) -> Mapping[str, int]:
        """Place → records handled since the start."""
        ...

    def problems(self) -> Mapping[str, str]:
        """Consumer → why it has stopped for good."""
        ...


class Watch:
    """Looked at every few seconds."""

    def __init__(
        self, stores: Stores, announcer: Announcer, known: Known, consumers: Consumers, limits: Limits
    ) -> None:
        self._records, self._history, self._announcer = stores.records, stores.history, announcer
        self._known, self._limits, self._consumers = known, limits, consumers
        self._moved: dict[str, tuple[int, int]] = {}
        self._started_us = known.now_us()

    async def look(self) -> tuple[dict[str, float], list[Figures]]:
        """(place → seconds without movement while records wait, figures per model); raises and settles alerts."""
        now = self._known.now_us()
        behind = await self._behind(now)
        async with self._records.transaction():
            for topic, seconds in sorted(behind.items()):
                text = f"{topic} has records waiting and has not moved for {seconds:.0f} s"
                await self._alert("stuck consumer", topic, "", seconds > self._limits.stuck_s, text, now)
            for consumer in ("monitor", "monitor.archive"):
                problem = self._consumers.problems().get(consumer, "")
                await self._alert("consumer stopped", consumer, "", bool(problem), problem or "it runs again", now)
            for plan in self._known.plans:
                if plan.champion:
                    await self._silence(plan.model, now)
        return behind, [await self._figures(plan.model) for plan in self._known.plans]

    async def _behind(self, now: int) -> dict[str, float]:
        """`<group>/<topic>` → seconds for which it has had records waiting and has not moved at all."""
        handled, out = self._consumers.handled(), {}
        for place, records in (await self._consumers.lag()).items():
            position = handled.get(place, 0)
            before = self._moved.get(place)
            if before is None or before[0] != position or records == 0:
                self._moved[place] = (position, now)
            out[place] = (now - self._moved[place][1]) / 1e6
        return out

    async def _silence(self, model: str, now: int) -> None:
        streams = await self._records.streams(model)
        last = max([s.seen_us for s in streams.values()], default=self._started_us)
        quiet_s = (now - max(last, self._started_us if not streams else 0)) / 1e6
        text = f"no prediction of {model} for {quiet_s:.0f} s"
        await self._alert("no predictions", model, model, quiet_s > self._limits.no_predictions_s, text, now)

    async def _alert(self, rule: str, subject: str, model: str, firing: bool, text: str, now: int) -> None:
        alert = f"{rule}/{subject}".replace(" ", "-")
        if await self._records.alert_changed(alert, firing, now):
            severity = "critical" if rule != "no predictions" else "warning"
            summary = text if firing else f"over: {subject}"
            await self._announcer.alert(alert, rule, model, severity, firing, summary)

    async def _figures(self, model: str) -> Figures:
        opened = frozenset((e.version, str(e.kind)) for e in await self._history.open_episodes(model))
        coverage, lag_s = coverage_and_lag(await self._records.counters(model))
        return Figures(model, coverage, lag_s, opened)
