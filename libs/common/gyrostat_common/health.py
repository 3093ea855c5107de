"""What a process says of itself: the one truth behind gRPC health, `/readyz`, the gauges and every table of services.

Two words that must not be mixed up. *Not ready*: take the traffic away, a call here would fail. *Alarmed*: it answers
as it should, but something is wrong that a person must see to; taking the traffic away would only make it worse. `app`
makes one Health, tells it what the service needs and what alarms it, and hands it to `rpc.listen` and `serve_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gyrostat_common.telemetry.log import get_logger
from gyrostat_common.telemetry.metrics import gauge

log = get_logger("health")
ready_gauge = gauge("gyrostat_ready", "1 while the process wants traffic")
problem_gauge = gauge(
    "gyrostat_problem", "1 while something is wrong that takes no traffic away; alarm on it", ("problem",)
)

STARTING, STOPPING = "it is starting", "it is stopping"
LONGEST_SENTENCE, MOST_PROBLEMS = 300, 10

Tell = Callable[[], str | None]
"""Says what is wrong, in a sentence; None while nothing is."""


@dataclass(frozen=True)
class Report:
    """One look. `reason` says why the process is not ready, None when it is; `problems` are name → sentence."""

    reason: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """ "serving", "alarmed" or "not serving"."""
        if self.reason is not None:
            return "not serving"
        return "alarmed" if self.problems else "serving"

    @property
    def sentence(self) -> str:
        """The state in words: the reason, or the problems, or "ready"."""
        if self.reason is not None:
            return self.reason
        if self.problems:
            return "ready; problems: " + "; ".join(f"{name}: {text}" for name, text in self.problems.items())
        return "ready"


class Health:
    """Starting until `opened`, stopping from `closing` on; in between what its sources say. Sources are asked at every
    look and must be quick."""

    def __init__(self) -> None:
        self._phase: str | None = STARTING
        self._needs: list[Tell] = []
        self._alarms: list[Callable[[], Mapping[str, str]]] = []
        self._parts: list[Callable[[], Mapping[str, bool]]] = []
        self._told: Report | None = None

    def need(self, tell: Tell) -> None:
        """Not ready while it says something."""
        self._needs.append(tell)

    def alarm(self, name: str, tell: Tell) -> None:
        """Alarmed while it says something. `name` is the label of the gauge: few, and known beforehand."""
        self._alarms.append(lambda: {name: said} if (said := tell()) else {})

    def alarms(self, tell: Callable[[], Mapping[str, str]]) -> None:
        """Alarmed while it has entries: name → sentence."""
        self._alarms.append(tell)

    def parts(self, tell: Callable[[], Mapping[str, bool]]) -> None:
        """Names beyond the services that gRPC health knows, e.g. models, and whether each answers."""
        self._parts.append(tell)

    def opened(self) -> None:
        """Everything is open: from now on the sources decide."""
        self._phase = None

    def closing(self) -> None:
        """The end has begun: not ready, whatever the sources say."""
        self._phase = STOPPING

    @property
    def answering(self) -> bool:
        """Whether calls of the service itself are let in."""
        return self._phase is None

    def look(self) -> Report:
        """The truth now."""
        problems: dict[str, str] = {}
        for tell in self._alarms:
            try:
                problems.update(tell())
            except Exception as error:  # what cannot be asked is a problem, and must not take the other answers away
                problems["health"] = f"a part cannot be asked: {error!r}"
        shown = {name: text[:LONGEST_SENTENCE] for name, text in list(problems.items())[:MOST_PROBLEMS]}
        return Report(self._reason(), shown)

    def named(self) -> dict[str, bool]:
        """Whether each of the named parts answers; none does before the opening and after the close."""
        return {name: ok and self.answering for tell in self._parts for name, ok in tell().items()}

    def _reason(self) -> str | None:
        if self._phase is not None:
            return self._phase
        for tell in self._needs:
            try:
                said = tell()
            except Exception as error:  # not to know is not to be ready
                said = f"a part cannot be asked: {error!r}"
            if said:
                return said[:LONGEST_SENTENCE]
        return None

    def record(self) -> Report:
        """Looks, sets the gauges, and logs what has changed since the last time."""
        before, now = self._told or Report(STARTING), self.look()
        self._told = now
        ready_gauge.set(now.reason is None)
        for name in before.problems.keys() | now.problems.keys():
            problem_gauge.labels(name).set(name in now.problems)
        for name in now.problems.keys() - before.problems.keys():
            log.error("problem", problem=name, detail=now.problems[name])
        for name in before.problems.keys() - now.problems.keys():
            log.info("problem_over", problem=name)
        if now.reason is None and before.reason is not None:
            log.info("ready")
        elif now.reason not in (None, STARTING, before.reason):
            log.warning("not_ready", reason=now.reason)
        return now
