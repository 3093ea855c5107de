"""A worker's end: says that it lives, what it has to do and what it serves, and does as it is told.

`worker` makes one; `cores.crew` is the other end. When the channel ends, the supervisor has: so does the worker.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from gyrostat_common import telemetry
from gyrostat_common.errors import GyrostatError, Unavailable
from gyrostat_inference.cores.channel import Channel, ChannelLost
from gyrostat_inference.cores.handing import Receiver
from gyrostat_inference.cores.messages import (
    Again,
    Ask,
    Beat,
    Close,
    Family,
    FromSupervisor,
    FromWorker,
    Plan,
    Said,
    States,
    Totals,
    Up,
    VersionCounters,
    Want,
    Word,
)
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import ModelState
from gyrostat_inference.domain.live import Applied

log = telemetry.get_logger("inference.cores")
BEAT_S, WANT_S = 0.25, 2.0


class Front(Protocol):
    """The server that takes connections over; see docs/front.md."""

    @property
    def connections(self) -> int: ...
    @property
    def streams(self) -> int: ...


class Work(Protocol):
    """What this worker does beside."""

    async def follow(self, raw: bytes) -> None: ...
    async def again(self, model: str) -> None: ...
    def states(self) -> Mapping[str, ModelState]: ...
    def not_ready(self) -> str | None: ...
    def counters(self) -> Mapping[tuple[str, int], Counters]: ...
    def written(self) -> list[Written]: ...
    def spool_problem(self) -> str | None: ...
    def families(self) -> list[Family]: ...


@dataclass
class Station:
    """One per worker."""

    channel: Channel
    front: Front
    receiver: Receiver
    work: Work
    ended: asyncio.Event
    """Set when the worker is to end, by anybody."""
    reason: str | None = "the supervisor has not said that it is ready"
    """Why the replica is not ready, as the supervisor says; None when it is."""
    problems: Mapping[str, str] = field(default_factory=dict)
    served: frozenset[str] = frozenset()
    """Models that all workers serve."""

    def __post_init__(self) -> None:
        self._told: dict[str, ModelState] = {}
        self._told_reason: str | None = ""
        self._counted: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._wants: dict[int, asyncio.Future[Totals]] = {}
        self._last_want = 0
        self._trying: set[asyncio.Task[None]] = set()

    async def run(self, changed: asyncio.Event) -> None:
        """Until the worker is to end. `changed` is set when what it serves has changed."""
        self._post(Up())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._beat()), group.create_task(self._tell_states(changed))]
            await self._listen()
            for task in tasks:
                task.cancel()

    async def totals(self) -> Totals:
        """What the whole replica has counted and loaded. Raises Unavailable when nobody says so in time."""
        self._last_want += 1
        number = self._last_want
        wanted: asyncio.Future[Totals] = asyncio.get_running_loop().create_future()
        self._wants[number] = wanted
        self._post(Want(number=number))
        try:
            async with asyncio.timeout(WANT_S):
                return await wanted
        except TimeoutError:
            raise Unavailable(f"the other workers were not added up within {WANT_S:g} s; try again") from None
        finally:
            self._wants.pop(number, None)

    async def again(self, model: str) -> None:
        """Tries now what could not be loaded, here and in the other workers. Raises what `Work.again` does."""
        self._post(Again(model=model))
        await self.work.again(model)

    async def _try_again(self, model: str) -> None:
        with suppress(GyrostatError):  # what is not loaded is told with the states
            await self.work.again(model)

    def _post(self, message: FromWorker) -> None:
        try:
            self.channel.post(message)
        except ChannelLost:
            self.ended.set()

    async def _listen(self) -> None:
        try:
            while not self.ended.is_set():
                await self._take(await self.channel.next())
        except ChannelLost as reason:
            log.error("supervisor_lost", reason=str(reason))
        self.ended.set()

    async def _take(self, message: FromSupervisor | FromWorker) -> None:
        match message:
            case Plan():
                await self.work.follow(message.raw)
            case Word():
                self.reason, self.problems, self.served = message.reason, message.problems, message.served
            case Ask():
                self._say(message)
            case Again():
                self._trying.add(task := asyncio.create_task(self._try_again(message.model), name="try again"))
                task.add_done_callback(self._trying.discard)
            case Totals():
                wanted = self._wants.get(message.number)
                if wanted is not None and not wanted.done():
                    wanted.set_result(message)
            case Close():
                self.ended.set()

    def _say(self, ask: Ask) -> None:
        """Counters that have changed since it said so last, and the books."""
        changed = []
        for (model, version), one in self.work.counters().items():
            seen = (one.success.count, one.fail.count, one.executions)
            if self._counted.get((model, version)) != seen:
                self._counted[model, version] = seen
                changed.append(VersionCounters(model=model, version=version, counters=one))
        families = self.work.families() if ask.metrics else []
        self._post(Said(number=ask.number, counters=changed, written=self.work.written(), families=families))

    async def _beat(self) -> None:
        while True:
            self._post(
                Beat(
                    streams=self.front.streams,
                    connections=self.front.connections,
                    adopted=self.receiver.adopted,
                    spool_problem=self.work.spool_problem(),
                )
            )
            await asyncio.sleep(BEAT_S)

    async def _tell_states(self, changed: asyncio.Event) -> None:
        while True:
            changed.clear()
            states, reason = self.work.states(), self.work.not_ready()
            news = [state for model, state in states.items() if self._told.get(model) != state]
            if news or reason != self._told_reason:
                self._told, self._told_reason = dict(states), reason
                self._post(States(states=news, not_ready=reason))
            await changed.wait()


@dataclass(frozen=True)
class WholeReplica:
    """What ModelStatistics and RepositoryIndex tell: all workers, through the supervisor."""

    station: Station

    async def counters(self) -> dict[tuple[str, int], Counters]:
        totals = await self.station.totals()
        return {(one.model, one.version): one.counters for one in totals.counters}

    def serves(self, model: str) -> bool:
        return model in self.station.served

    async def applied(self) -> list[Applied]:
        return (await self.station.totals()).applied
