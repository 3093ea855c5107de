"""No silence: missing predictions, a stuck consumer and full dead letters are alerts. Wall time alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gyrostat_common.clock import Clock
from gyrostat_common.times import to_us
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Announcer, History, Records
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


class Watch:
    """Looked at every few seconds. `lag` asks the log; `problems` says which consumers have stopped for good, and
    why.
    """

    def __init__(
        self, records: Records, history: History, announcer: Announcer, known: Known, clock: Clock,
        lag: Callable[[], Awaitable[Mapping[str, int]]], problems: Callable[[], Mapping[str, str]], limits: Limits,
    ) -> None:  # fmt: skip
        self._records, self._history, self._announcer = records, history, announcer
        self._known, self._clock, self._lag, self._problems, self._limits = known, clock, lag, problems, limits
        self._moved: dict[str, tuple[int, int]] = {}
        self._started_us = to_us(clock.now())

    async def look(self) -> tuple[dict[str, float], list[Figures]]:
        """(topic → seconds since it stopped moving with records waiting, figures per model); raises and settles
        alerts.
        """
        now = to_us(self._clock.now())
        behind = await self._behind(now)
        async with self._records.transaction():
            for topic, seconds in sorted(behind.items()):
                text = f"{topic} has records waiting and has not moved for {seconds:.0f} s"
                await self._alert("stuck consumer", topic, "", seconds > self._limits.stuck_s, text, now)
            for consumer in ("monitor", "monitor.archive"):
                problem = self._problems().get(consumer, "")
                await self._alert("consumer stopped", consumer, "", bool(problem), problem or "it runs again", now)
            for plan in self._known.plans:
                if plan.champion:
                    await self._silence(plan.model, now)
        return behind, [await self._figures(plan.model) for plan in self._known.plans]

    async def _behind(self, now: int) -> dict[str, float]:
        """Seconds for which a topic with waiting records has not moved at all."""
        waiting = await self._lag()
        offsets = await self._records.offsets()
        out = {}
        for topic, records in waiting.items():
            position = sum(o for tp, o in offsets.items() if tp.startswith(f"{topic}/"))
            before = self._moved.get(topic)
            if before is None or before[0] != position or records == 0:
                self._moved[topic] = (position, now)
            out[topic] = (now - self._moved[topic][1]) / 1e6
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
