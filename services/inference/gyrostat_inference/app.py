"""What is connected to what, in which order. The only file that knows every other room."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, oip, rpc, telemetry
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.bus import Producer, StateReader
from gyrostat_common.clock import SystemClock
from gyrostat_common.errors import Unavailable
from gyrostat_common.health import Health
from gyrostat_inference.clients import RegistryArtifacts
from gyrostat_inference.domain.books import Books, added
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.engine import OnnxEngine, RunLimits
from gyrostat_inference.events import plans
from gyrostat_inference.events.heartbeat import heartbeat
from gyrostat_inference.service import metrics
from gyrostat_inference.service.protocol import QUIET, InferenceService
from gyrostat_inference.settings import Settings, environ_of
from gyrostat_inference.store.cache import ArtifactFiles, PlanFiles, ProfileFiles, Source, hash_key
from gyrostat_inference.store.shipping import read_books
from gyrostat_inference.store.spool import Limits, Room, Spool
from gyrostat_inference.usecases.apply_plan import ApplyPlan
from gyrostat_inference.usecases.load import LoadVersion
from gyrostat_inference.usecases.predict import Logging, Predict

log = telemetry.get_logger("inference")
SHIPPER_RESTART_S, SHIPPER_STEADY_S, KAFKA_DOWN_S, MEND_S = 1.0, 10.0, 5.0, 20.0
SPOOL_ALARM = 0.8


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[None]:
    """The running service. Closing: refuse calls, finish those in flight and their shadows, ship the spool."""
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry.open_telemetry("inference", settings))
        # The addresses come first: a second replica must end here, before it touches spool, cache and plans.
        health = Health()
        await stack.enter_async_context(telemetry.serve_metrics(settings.metrics_address, health))
        server = await stack.enter_async_context(rpc.listen(settings.grpc_address, health))
        replica = settings.replica or f"{socket.gethostname()}-{os.getpid()}"
        models, changed = LiveModels(), asyncio.Event()
        room = _room(settings)
        answers, shadows, shipper = await stack.enter_async_context(_spooling(settings, replica, room))

        limits = stack.enter_context(RunLimits(settings.longest_run_s))
        apply_plan = _apply_plan(settings, models, changed, limits)
        await apply_plan.restore()
        log_bus = await stack.enter_async_context(bus.open(settings.kafka))
        producer = await stack.enter_async_context(log_bus.producer())
        state = await stack.enter_async_context(
            log_bus.read_state(events_pb2.ServingPlan, plans.handler(settings.environment, apply_plan.follow))
        )
        await stack.enter_async_context(_running("apply plans", apply_plan.run()))
        readiness = Readiness(models, apply_plan, state, producer)
        health.need(readiness.reason)
        health.alarm("kafka", lambda: producer.problem)
        health.alarm("serving.plan", lambda: state.problem)
        _watched(health, models, shipper, room, (answers, shadows))

        logging = Logging(settings.spool_strict, settings.spool_on_full)
        predict = Predict(models, answers, shadows, metrics.Meters(), oip.to_raw, logging)
        stack.enter_context(metrics.exposed(models, lambda: room.used_ratio))
        await stack.enter_async_context(_running("score shadows", predict.run_shadows()))
        stack.push_async_callback(_within, 5.0, predict.drain_shadows())
        beats = Beats(settings, replica, models, producer, (answers, shadows))
        await stack.enter_async_context(_running("heartbeat", beats.run(changed)))
        service = InferenceService(predict, models, lambda: health.look().reason)
        await stack.enter_async_context(
            server.serving([rpc.Service(service, oip.add_servicer, oip.SERVICE, QUIET)], [oip.POOL])
        )
        yield


def _room(settings: Settings) -> Room:
    """As full as it is now."""
    room = Room(Path(settings.spool_folder), Limits(settings.spool_max_bytes, settings.spool_max_age_s))
    room.measure()
    return room


def _watched(
    health: Health, models: LiveModels, shipper: "ShipperProcess", room: Room, spools: tuple[Spool, ...]
) -> None:
    """The models are parts of our health; what goes on without us is an alarm, and no reason to go away."""
    health.parts(lambda: {live.plan.model: live.ready for live in models.models()})
    health.alarm("plan", models.problem)
    health.alarm("shipper", lambda: shipper.problem)
    health.alarm("spool", lambda: _filling(room, spools))


def _apply_plan(settings: Settings, models: LiveModels, changed: asyncio.Event, limits: RunLimits) -> ApplyPlan:
    cache = Path(settings.cache_folder)
    sources: list[Source] = [ArtifactStore(settings.artifacts_uri)]
    if settings.registry_address:
        sources.append(RegistryArtifacts(settings.registry_address))
    artifacts = ArtifactFiles(cache / "artifacts", sources)
    key = hash_key(cache / "hash.key", settings.hash_key.get_secret_value())
    loader = LoadVersion(artifacts, OnnxEngine(limits, settings.model_memory_bytes), ProfileFiles(), key)
    return ApplyPlan(models, loader, PlanFiles(cache / "plans", plans.decode_plan), LogLines(), changed.set)


class LogLines:
    """One line per decision about a plan."""

    def applied(self, plan: Plan) -> None:
        log.info("plan_applied", model=plan.model, revision=plan.revision, live=plan.live())

    def not_loaded(self, model: str, version: int, revision: int, reason: str) -> None:
        log.error("version_not_loaded", model=model, version=version, revision=revision, reason=reason)

    def held_up(self, plan: Plan, reason: str) -> None:
        log.error("plan_held_up", model=plan.model, revision=plan.revision, reason=reason)

    def not_cached(self, plan: Plan, reason: str) -> None:
        log.error("plan_not_cached", model=plan.model, revision=plan.revision, reason=reason)


class Readiness:
    """Ready: the plans are read to the end that was there at start, or the cache is all there is; champions answer.

    A plan that cannot be read is there for every replica at once: those with models go on answering by theirs. One
    without gives the registry a moment to write over it; a key that is still held then is nobody's, and no reason to
    stay away.
    """

    def __init__(
        self,
        models: LiveModels,
        apply_plan: ApplyPlan,
        state: StateReader,
        producer: Producer,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._apply, self._state, self._producer = models, apply_plan, state, producer
        self._now, self._began, self._been_ready = now, now(), False

    def reason(self) -> str | None:
        """Why the service is not ready; None when it is."""
        unread, read = self._state.problem, self._state.caught_up.is_set()
        if unread is not None and not self._models.models() and not (read and self._now() - self._began > MEND_S):
            return f"plans cannot be read: {unread}"
        if unread is None and not read and not (self._apply.restored and self._kafka_down()):
            return f"plans are not read to the end yet: {self._producer.problem or 'reading'}"
        if self._apply.busy and not self._been_ready:
            return "the first plans are being put in force"
        reason = self._models.not_ready()
        self._been_ready = self._been_ready or reason is None
        return reason

    def _kafka_down(self) -> bool:
        return self._producer.problem is not None or self._now() - self._began > KAFKA_DOWN_S


def _filling(room: Room, spools: tuple[Spool, ...]) -> str | None:
    """Answers are dropped, or refused, when the spool is full or the disk refuses."""
    refused = next((spool.problem for spool in spools if spool.problem is not None), None)
    if refused is not None:
        return refused
    if room.disk_full:
        return "the disk of the spool is full: new answers are not kept until there is room"
    if room.used_ratio < SPOOL_ALARM:
        return None
    return f"{room.used_ratio:.0%} of the spool's room is taken by answers that are not shipped"


class Beats:
    """plan.applied at every change and every few seconds; the newest one only, while Kafka is down."""

    def __init__(
        self, settings: Settings, replica: str, models: LiveModels, producer: Producer, spools: tuple[Spool, ...]
    ) -> None:
        self._settings, self._replica, self._models = settings, replica, models
        self._producer, self._spools, self._clock = producer, spools, SystemClock()

    async def run(self, changed: asyncio.Event) -> None:
        """Until cancelled."""
        while True:
            changed.clear()
            books = await asyncio.to_thread(self._books)
            event = heartbeat(
                self._replica,
                self._settings.environment,
                self._clock.now(),
                self._models.applied(),
                self._models.revisions(),
                books,
            )
            await self._producer.send(event)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_s):
                    await changed.wait()

    def _books(self) -> list[Books]:
        """Every spool below the folder: the shipper's count, and of our own what it has not seen yet."""
        books = read_books(Path(self._settings.spool_folder))
        for spool in self._spools:
            shipped = books.get(spool.spool_id, Books(spool.spool_id))
            refused = {k: v for k, v in shipped.dropped.items() if k not in spool.dropped}
            books[spool.spool_id] = Books(
                spool.spool_id, spool.accepted, shipped.logged, spool.sampled_out, added(spool.dropped, refused)
            )
        return list(books.values())


async def _tend(room: Room, *spools: Spool) -> None:
    await asyncio.to_thread(room.measure)
    for spool in spools:
        try:
            await spool.tend()
        except (OSError, Unavailable) as error:
            log.error("spool_not_flushed", spool=spool.spool_id, error=str(error))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await work()


@asynccontextmanager
async def _running(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The task while the block runs. If it fails, so does the service: a part that is gone must be seen."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


async def _within(seconds: float, work: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


@asynccontextmanager
async def _spooling(
    settings: Settings, replica: str, room: Room
) -> AsyncIterator[tuple[Spool, Spool, "ShipperProcess"]]:
    """The spools of answers and of shadows, tended while the block runs; closed before the shipper ships the rest."""
    root = Path(settings.spool_folder)
    async with _shipping(settings, replica) as shipper:
        with closing(Spool(root, "answer", room)) as answers, closing(Spool(root, "shadow", room)) as shadows:
            async with _running("tend the spool", _every(1.0, lambda: _tend(room, answers, shadows))):
                yield answers, shadows, shipper


@asynccontextmanager
async def _shipping(settings: Settings, replica: str) -> AsyncIterator["ShipperProcess"]:
    """The shipper as a child, started again when it ends. At the close it ships what is there, for a while."""
    shipper = ShipperProcess(replica, {**os.environ, **environ_of(settings)})
    if not settings.ship:
        yield shipper
        return
    keeper = asyncio.create_task(shipper.keep(), name="keep the shipper")
    try:
        yield shipper
    finally:
        shipper.finish()
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(settings.ship_at_close_s + 12.0):
                await keeper
        await shipper.kill()


class ShipperProcess:
    """`gyrostat_inference.shipper` in a process of its own."""

    def __init__(self, replica: str, environ: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "gyrostat_inference.shipper"]
        self._command += ["--parent", str(os.getpid()), "--replica", replica]
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._closing = False
        self.problem: str | None = None
        """Why answers are not shipped; None while it runs, or was never started."""

    async def keep(self) -> None:
        """Starts it, and again whenever it ends, until `finish`."""
        while not self._closing:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, env=self._environ
            )
            code = await self._steady(self._process)
            if self._closing:
                return
            log.error("shipper_ended", code=code)
            self.problem = f"the shipper ended with code {code} and is started again; answers wait in the spool"
            await asyncio.sleep(SHIPPER_RESTART_S)

    async def _steady(self, process: asyncio.subprocess.Process) -> int:
        """Waits for its end; what keeps ending is a problem until it has run for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHIPPER_STEADY_S):
                return await process.wait()
        self.problem = None
        return await process.wait()

    def finish(self) -> None:
        """Asks it to ship what is there and end."""
        self._closing = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def kill(self) -> None:
        """Ends it if it still runs; what it did not ship stays in the spool."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
