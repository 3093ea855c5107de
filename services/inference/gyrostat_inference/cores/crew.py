"""The supervisor's end: N worker processes, started by exec and started again, and what they say.

`app`'s supervisor runs it; `cores.station` is the other end. Which worker gets a connection, who hangs and how long a
dead one stays away is decided in `domain.crew`.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from gyrostat_common import telemetry
from gyrostat_inference.cores.channel import Channel, ChannelLost
from gyrostat_inference.cores.handing import handed
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
from gyrostat_inference.cores.meters import merged
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import Load, ModelState, hung, least_loaded, restart_after_s, total
from gyrostat_inference.domain.live import Applied

log = telemetry.get_logger("inference.cores")
LOOK_S, ASK_S, START_S, END_S, PATIENCE_S = 0.5, 1.0, 90.0, 2.0, 10.0
FEW_SAMPLES = 1000
Start = Callable[[int, int, int], Awaitable[asyncio.subprocess.Process]]
"""Starts worker `number` with its ends of channel and doors, as open files."""
Key = tuple[str, int]

restarts_total = telemetry.counter("gyrostat_worker_restarts", "Workers that ended and were started again", ("worker",))
open_connections = telemetry.gauge("gyrostat_worker_connections", "Connections of a worker", ("worker",))
open_streams = telemetry.gauge("gyrostat_worker_streams", "Calls in flight in a worker", ("worker",))


class Hears(Protocol):
    """Who is told what workers do; see `usecases.hand_down`."""

    def came(self, number: int) -> None: ...
    def left(self, number: int) -> None: ...
    def heard(self, number: int, states: Collection[ModelState], not_ready: str | None) -> None: ...
    def answering(self) -> list[int]: ...
    def applied(self) -> list[Applied]: ...
    def revisions(self) -> Mapping[str, int]: ...


@dataclass(eq=False, slots=True)
class _Worker:
    """A running one."""

    number: int
    process: asyncio.subprocess.Process
    channel: Channel
    doors: socket.socket
    heard_at: float
    up: bool = False
    handed: int = 0
    beat: Beat = field(default_factory=lambda: Beat(streams=0, connections=0, adopted=0))
    counters: dict[Key, Counters] = field(default_factory=dict)
    said: Said | None = None
    families: list[Family] = field(default_factory=list)
    asked: dict[int, asyncio.Future[Said]] = field(default_factory=dict)

    @property
    def load(self) -> Load:
        return Load(self.beat.streams, self.beat.connections, self.handed - self.beat.adopted)


class Crew:
    """Everything about the workers of one replica."""

    def __init__(self, start: Start, count: int, hung_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._start, self.count, self._hung_s, self._now = start, count, hung_s, now
        self._hears: Hears | None = None
        self._workers: dict[int, _Worker] = {}
        self._lives: dict[int, list[float]] = {number: [] for number in range(count)}
        self._closing = asyncio.Event()
        self._word: Word | None = None
        self._asks = 0
        self._wants: asyncio.Queue[tuple[_Worker, int]] = asyncio.Queue(1024)
        self._looked_at = self._collected_at = now()
        self._patient_until: float | None = None
        # What ended workers had counted, so that what only grows does.
        self._ended_counters: dict[Key, Counters] = {}
        self._ended_families: list[Family] = []

    async def run(self, hears: Hears) -> None:
        """Until `finish`, or cancelled, which kills."""
        self._hears = hears
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in (
                ("look at the workers", self._look()), ("add the workers up", self._answer_wants()))]  # fmt: skip
            keepers = [group.create_task(self._keep(n), name=f"keep worker {n}") for n in range(self.count)]
            await asyncio.gather(*keepers)
            for task in tasks:
                task.cancel()

    @property
    def pids(self) -> dict[int, int]:
        return {number: worker.process.pid for number, worker in self._workers.items()}

    def loads(self) -> dict[int, Load]:
        """What each has to do."""
        return {number: worker.load for number, worker in self._workers.items()}

    @property
    def problem(self) -> str | None:
        """Which workers are missing that once ran; None while all do."""
        missing = [n for n, lives in self._lives.items() if lives and not self._is_up(n)]
        if not missing:
            return None
        return f"{len(missing)} of {self.count} workers are not there and are started again: {missing}"

    def spool_problems(self) -> list[str | None]:
        return [worker.beat.spool_problem for worker in self._workers.values()]

    # To the workers

    def give(self, number: int, raw: bytes) -> None:
        """A plan."""
        self._post(number, Plan(raw=raw))

    def tell(self, reason: str | None, problems: Mapping[str, str]) -> None:
        """What the replica says of itself, to all; those that come later are told too."""
        assert self._hears is not None, "it runs"
        word = Word(reason=reason, problems=dict(problems), served=frozenset(self._hears.revisions()))
        if word != self._word:
            self._word = word
            for number in list(self._workers):
                self._post(number, word)

    def hand(self, door: str, connection: socket.socket) -> bool:
        """A connection to the worker with the least to do, of those that serve what the replica serves; where none
        does, of all: they say why. False: nobody takes it.
        """
        assert self._hears is not None, "it runs"
        up = {number: worker for number, worker in self._workers.items() if worker.up}
        if self._patient(len(up)):
            return False
        fit = {n: up[n].load for n in self._hears.answering() if n in up}
        for number in least_loaded(fit or {n: worker.load for n, worker in up.items()}):
            if handed(up[number].doors, door, connection):
                up[number].handed += 1
                return True
        return False

    def _patient(self, up: int) -> bool:
        """At the start connections wait for the other workers: they stay where they begin, and would all be with the
        first.
        """
        if up == 0 or up == self.count or any(self._lives.values()):
            return False
        if self._patient_until is None:
            self._patient_until = self._now() + PATIENCE_S
        return self._now() < self._patient_until

    async def finish(self, within_s: float) -> None:
        """Workers finish what is in flight and end; those that do not are killed."""
        self._closing.set()
        workers = list(self._workers.values())
        for worker in workers:
            self._post(worker.number, Close())
        ends = [asyncio.create_task(worker.process.wait()) for worker in workers]
        if ends:
            await asyncio.wait(ends, timeout=within_s)
        for worker, end in zip(workers, ends, strict=True):
            if not end.done():
                log.error("worker_killed", worker=worker.number, reason=f"it did not end within {within_s:g} s")
                _kill(worker.process)
                await end

    def _post(self, number: int, message: FromSupervisor) -> None:
        worker = self._workers.get(number)
        if worker is None:
            return
        try:
            worker.channel.post(message)
        except ChannelLost as error:
            log.error("worker_lost", worker=number, reason=str(error))
            _kill(worker.process)

    # From the workers

    async def ask(self, metrics: bool = False) -> None:
        """Brings counters, books and, where wanted or due, metrics of all workers up to date; gives up on one after
        ASK_S.
        """
        self._asks += 1
        metrics = metrics or self._due()
        self._collected_at = self._now() if metrics else self._collected_at
        answers = []
        for worker in [one for one in self._workers.values() if one.up]:
            answer = worker.asked[self._asks] = asyncio.get_running_loop().create_future()
            answers.append(answer)
            self._post(worker.number, Ask(number=self._asks, metrics=metrics))
        if answers:
            await asyncio.wait(answers, timeout=ASK_S)
        for worker in self._workers.values():
            worker.asked.pop(self._asks, None)

    def counters(self) -> dict[Key, Counters]:
        """By model and version, of all workers, as they last said."""
        parts: dict[Key, list[Counters]] = {key: [one] for key, one in self._ended_counters.items()}
        for worker in self._workers.values():
            for key, one in worker.counters.items():
                parts.setdefault(key, []).append(one)
        return {key: total(each) for key, each in parts.items()}

    def families(self) -> list[Family]:
        """Metrics of all workers, added up, as they last said."""
        return merged([self._ended_families, *(worker.families for worker in self._workers.values())])

    def _due(self) -> bool:
        """Whether metrics are collected without being asked for: always when they are few. Those of very many models
        hold a worker's calls up while they are collected.
        """
        most = max((sum(len(f.samples) for f in w.families) for w in self._workers.values()), default=0)
        return most <= FEW_SAMPLES or self._now() - self._collected_at >= most / FEW_SAMPLES

    def written(self) -> list[Written]:
        """What living workers say of their spools."""
        return [spool for w in self._workers.values() if w.said is not None for spool in w.said.written]

    async def _answer_wants(self) -> None:
        """One round of asking for all who want to know at the same time."""
        while True:
            wants = [await self._wants.get()]
            while not self._wants.empty():
                wants.append(self._wants.get_nowait())
            await self.ask()
            assert self._hears is not None, "it runs"
            sums = [VersionCounters(model=m, version=v, counters=c) for (m, v), c in sorted(self.counters().items())]
            applied = self._hears.applied()
            for worker, number in wants:
                if self._workers.get(worker.number) is worker:
                    self._post(worker.number, Totals(number=number, counters=sums, applied=applied))

    # Lives

    async def _keep(self, number: int) -> None:
        while not self._closing.is_set():
            began = self._now()
            code = await self._live(number)
            if self._closing.is_set():
                return
            lives = self._lives[number]
            lives.append(self._now() - began)
            del lives[:-16]
            again_s = restart_after_s(lives)
            restarts_total.labels(str(number)).inc()
            log.error("worker_ended", worker=number, code=code, lived_s=round(lives[-1], 1), again_in_s=again_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._closing.wait()

    async def _live(self, number: int) -> int | None:
        """One life; its exit code, None when it could not be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        doors, their_doors = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        doors.setblocking(False)
        try:
            process = await self._start(number, theirs.fileno(), their_doors.fileno())
        except OSError as error:  # no memory, no processes: tried again
            log.error("worker_not_started", worker=number, error=str(error))
            ours.close()
            doors.close()
            if self._hears is not None:
                self._hears.left(number)
            return None
        finally:
            theirs.close()
            their_doors.close()
        worker = _Worker(number, process, await Channel.over(ours), doors, self._now())
        self._workers[number] = worker
        log.info("worker_started", worker=number, pid=process.pid)
        try:
            await self._listen(worker)
        finally:
            self._forget(worker)
            code = await _ended(process)
        return code

    async def _listen(self, worker: _Worker) -> None:
        try:
            while True:
                self._take(worker, await worker.channel.next())
        except ChannelLost as reason:
            if not self._closing.is_set():
                log.warning("worker_lost", worker=worker.number, reason=str(reason))

    def _forget(self, worker: _Worker) -> None:
        """It ends, or is about to: what it counted stays, and it gets nothing more."""
        self._workers.pop(worker.number, None)
        worker.channel.close()
        worker.doors.close()
        for answer in worker.asked.values():
            answer.cancel()
        for key, one in worker.counters.items():
            self._ended_counters[key] = total([self._ended_counters.get(key, Counters()), one])
        self._ended_families = merged([self._ended_families, [f for f in worker.families if f.kind != "gauge"]])
        if self._hears is not None:
            self._hears.left(worker.number)

    def _take(self, worker: _Worker, message: FromSupervisor | FromWorker) -> None:
        worker.heard_at = self._now()
        assert self._hears is not None, "it runs"
        match message:
            case Beat():
                worker.beat = message
            case States():
                self._prune(worker, message)
                self._hears.heard(worker.number, message.states, message.not_ready)
            case Said():
                self._note(worker, message)
            case Want():
                with suppress(asyncio.QueueFull):  # whoever wanted it gives up after a second
                    self._wants.put_nowait((worker, message.number))
            case Again():
                for number in self._workers.keys() - {worker.number}:
                    self._post(number, message)
            case Up():
                worker.up = True
                if self._word is not None:
                    self._post(worker.number, self._word)
                self._hears.came(worker.number)

    def _note(self, worker: _Worker, said: Said) -> None:
        worker.said = said
        for one in said.counters:
            worker.counters[one.model, one.version] = one.counters
        worker.families = said.families or worker.families
        answer = worker.asked.pop(said.number, None)
        if answer is not None and not answer.done():
            answer.set_result(said)

    def _prune(self, worker: _Worker, message: States) -> None:
        """What has left the plan is counted no more."""
        for state in message.states:
            live = {row.version for row in state.versions}
            for counters in (worker.counters, self._ended_counters):
                for key in [key for key in counters if key[0] == state.model and key[1] not in live]:
                    del counters[key]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._now()
            for number, worker in list(self._workers.items()):
                open_connections.labels(str(number)).set(worker.beat.connections)
                open_streams.labels(str(number)).set(worker.beat.streams)
                limit_s = self._hung_s if worker.up else max(self._hung_s, START_S)
                if hung(now - worker.heard_at, now - self._looked_at, limit_s):
                    log.error("worker_hangs", worker=number, silent_s=round(now - worker.heard_at, 1))
                    _kill(worker.process)
            self._looked_at = now

    def _is_up(self, number: int) -> bool:
        return number in self._workers and self._workers[number].up


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code; what has let go of its channel ends at once, or is made to."""
    try:
        async with asyncio.timeout(END_S):
            return await process.wait()
    except (TimeoutError, asyncio.CancelledError) as stopped:
        _kill(process)
        code = await process.wait()
        if isinstance(stopped, asyncio.CancelledError):
            raise
        return code
