"""A replica of several processes: this one accepts, follows the log and speaks for all; workers answer.

Opened by `app` where more than one worker is wanted. The other side of it is `worker`.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, telemetry, tls
from gyrostat_common.bus import Producer
from gyrostat_common.errors import CannotStart
from gyrostat_common.health import Health
from gyrostat_common.telemetry import metrics as registry
from gyrostat_inference.cores.crew import Crew, Start
from gyrostat_inference.cores.handing import GRPC, REST, Doors, bound
from gyrostat_inference.cores.meters import with_workers
from gyrostat_inference.domain.books import Books, joined
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.events import plans
from gyrostat_inference.replica import Beats, Readiness, filling, replica_name, room_of, shipping
from gyrostat_inference.service import metrics
from gyrostat_inference.serving import key_of, plan_files, running, trials_folder
from gyrostat_inference.settings import Settings, environ_of
from gyrostat_inference.store.shipping import read_books
from gyrostat_inference.store.spool import Room
from gyrostat_inference.store.trials import clear_trials
from gyrostat_inference.usecases.hand_down import HandDown

log = telemetry.get_logger("inference")
TELL_S, MEASURE_S = 0.1, 1.0
CLOSE_WORKERS_S = 14.0
LEAST_MEMORY = 64 * 1024**2


def worker_count(settings: Settings) -> int:
    """As many as were asked for; 0: as many as there are cores for this process."""
    return settings.workers or len(os.sched_getaffinity(0))


@asynccontextmanager
async def open_replica(settings: Settings) -> AsyncIterator[None]:
    """The running replica. Closing: accept no more, workers finish what is in flight, the shipper ships the rest."""
    if settings.front == "grpcio":
        raise CannotStart("GYROSTAT_INFERENCE__FRONT=grpcio answers in one process; workers need `own`")
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry.open_telemetry("inference", settings))
        health, changed = Health(), asyncio.Event()
        # Workers read the files themselves; here they are tried, so that a wrong one ends the start, and watched.
        await stack.enter_async_context(tls.keeping(settings.tls, settings.service, health))
        crew = Crew(_starting(settings), worker_count(settings), settings.worker_silent_s)
        listeners = await stack.enter_async_context(_addresses(settings, health, crew))
        replica, room = replica_name(settings), room_of(settings)
        key_of(settings)  # made here if it is not there, so that all workers have the same
        clear_trials(trials_folder(settings))
        stack.enter_context(metrics.exposed(LiveModels(), room))
        shipper = await stack.enter_async_context(shipping(settings, replica))
        health.alarm("shipper", lambda: shipper.problem)
        health.alarm("spool", lambda: filling(room, crew.spool_problems()))
        health.alarm("workers", lambda: crew.problem)

        handing = HandDown(crew.give, plan_files(settings), LogLines(), changed.set)
        await handing.restore()
        handing.awaited(range(crew.count))
        producer = await stack.enter_async_context(_following(settings, handing, health))
        await stack.enter_async_context(running("keep the workers", crew.run(handing)))
        stack.push_async_callback(crew.finish, CLOSE_WORKERS_S)
        await stack.enter_async_context(running("tell the workers", _tell(crew, health)))
        await stack.enter_async_context(running("measure the spools", _measure(crew, room)))
        beats = Beats(settings, replica, handing, producer, lambda: _books(settings, crew))
        await stack.enter_async_context(running("heartbeat", beats.run(changed)))
        await stack.enter_async_context(_accepting(listeners, crew, health))
        yield


@asynccontextmanager
async def _addresses(
    settings: Settings, health: Health, crew: Crew
) -> AsyncIterator[Mapping[str, list[socket.socket]]]:
    """Bound before anything else is touched: a second replica must end here. Metrics are those of all workers."""
    fresh = partial(crew.ask, metrics=True)
    with registry.joined(with_workers(crew.families)), ExitStack() as stack:
        async with telemetry.serve_metrics(settings.metrics_address, health, fresh):
            listeners: dict[str, list[socket.socket]] = {}
            for door, address in ((GRPC, settings.grpc_address), (REST, settings.rest_address)):
                if address:
                    listeners[door] = [stack.enter_context(closing(one)) for one in bound(address)]
            yield listeners


@asynccontextmanager
async def _following(settings: Settings, handing: HandDown, health: Health) -> AsyncIterator[Producer]:
    """Reads the plans while the block runs, and says how far it is; the producer is for heartbeats."""
    async with bus.open(settings.kafka) as log_bus, log_bus.producer() as producer:
        follow = plans.handler(settings.environment, handing.follow)
        async with log_bus.read_state(events_pb2.ServingPlan, follow) as state:
            health.need(Readiness(handing, handing, state, producer).reason)
            health.alarm("kafka", lambda: producer.problem)
            health.alarm("serving.plan", lambda: state.problem)
            health.alarm("plan", handing.problem)
            yield producer


@asynccontextmanager
async def _accepting(listeners: Mapping[str, list[socket.socket]], crew: Crew, health: Health) -> AsyncIterator[None]:
    """Connections are let in while the block runs; then health says no, and no more come in."""
    doors = Doors(listeners, crew.hand)
    health.opened()
    doors.open()
    names = [listener.getsockname() for each in listeners.values() for listener in each]
    log.info("serving", addresses=names, workers=crew.count)
    try:
        yield
    finally:
        health.closing()
        _tell_now(crew, health)
        doors.shut()


def _starting(settings: Settings) -> Start:
    """How a worker is started: its own interpreter, with our settings and its share of the memory."""
    count = worker_count(settings)
    share = max(settings.model_memory_bytes // count, LEAST_MEMORY)
    theirs = settings.model_copy(update={"workers": count, "model_memory_bytes": share})
    # Metrics are added up here; a collector must not get them a second time.
    environ = {**os.environ, **environ_of(theirs), "OTEL_METRICS_EXPORTER": "none"}

    async def start(number: int, channel: int, doors: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gyrostat_inference.worker", "--number", str(number), "--parent", str(os.getpid()),
            "--channel", str(channel), "--doors", str(doors),
            stdin=asyncio.subprocess.DEVNULL, env=environ, pass_fds=(channel, doors),
        )  # fmt: skip

    return start


async def _tell(crew: Crew, health: Health) -> None:
    """Workers answer for the whole replica when they are asked how it is."""
    while True:
        _tell_now(crew, health)
        await asyncio.sleep(TELL_S)


def _tell_now(crew: Crew, health: Health) -> None:
    report = health.record()
    crew.tell(report.reason, report.problems)


async def _measure(crew: Crew, room: Room) -> None:
    """The room that is left, and what workers have counted: what one that is killed takes along is a second's."""
    while True:
        await asyncio.sleep(MEASURE_S)
        await asyncio.to_thread(room.measure)
        await crew.ask()


async def _books(settings: Settings, crew: Crew) -> list[Books]:
    """The shipper's count is read before the workers are asked: what it has counted, they have written."""
    shipped = await asyncio.to_thread(read_books, Path(settings.spool_folder))
    await crew.ask()
    return joined(shipped, crew.written())


class LogLines:
    """One line per decision about a plan."""

    def served(self, plan: Plan, workers: int) -> None:
        log.info("plan_served_by_all", model=plan.model, revision=plan.revision, live=plan.live(), workers=workers)

    def not_cached(self, plan: Plan, reason: str) -> None:
        log.error("plan_not_cached", model=plan.model, revision=plan.revision, reason=reason)
