"""What answers: spools, models under their plans, predictions. The part of `app` that a worker has too.

Used by `app` where one process is the whole replica, and by `worker`.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gyrostat_common import oip, rpc, telemetry, tls
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
from gyrostat_front import Limits, Server
from gyrostat_inference.clients import RegistryArtifacts
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.trying import TrialProcess
from gyrostat_inference.events import plans
from gyrostat_inference.service import http, metrics
from gyrostat_inference.service.lane import PATH, InferLane
from gyrostat_inference.service.protocol import QUIET, InferenceService
from gyrostat_inference.service.rest import Rest
from gyrostat_inference.settings import Settings
from gyrostat_inference.store.cache import ArtifactFiles, PlanFiles, ProfileFiles, Source, hash_key
from gyrostat_inference.store.spool import Room, Spool
from gyrostat_inference.store.trials import SharedTrials
from gyrostat_inference.usecases.apply_plan import ApplyPlan, PlanCache
from gyrostat_inference.usecases.load import Engine, LoadVersion
from gyrostat_inference.usecases.predict import Logging, Predict
from gyrostat_inference.usecases.turns import Turns

log = telemetry.get_logger("inference")
AGE_S, WORKERS_AGE_S = 1_800.0, 600.0
ALL_BODIES = http.Limits().all_bodies_bytes


@dataclass(frozen=True, slots=True)
class Spools:
    """The two of one process."""

    answers: Spool
    shadows: Spool

    def written(self) -> list[Written]:
        return [
            Written(spool.spool_id, spool.accepted, spool.sampled_out, dict(spool.dropped))
            for spool in (self.answers, self.shadows)
        ]

    def problems(self) -> list[str | None]:
        """What the disk said to each."""
        return [self.answers.problem, self.shadows.problem]


def plan_files(settings: Settings) -> PlanFiles:
    """The last plan of each model, to start with everything else down."""
    return PlanFiles(Path(settings.cache_folder) / "plans", plans.decode_plan)


def key_of(settings: Settings) -> bytes:
    """The key of hashed inputs; made and kept where the site gave none."""
    return hash_key(Path(settings.cache_folder) / "hash.key", settings.hash_key.get_secret_value())


def trials_folder(settings: Settings) -> Path:
    """What trials said, while a replica of several workers runs."""
    return Path(settings.cache_folder) / "trials"


@asynccontextmanager
async def applying_plans(
    settings: Settings, models: LiveModels, limits: RunLimits, cache: PlanCache, changed: Callable[[], None]
) -> AsyncIterator[ApplyPlan]:
    """Loads what plans want into `models`, from the cache folder, the artifact store or the registry."""
    sources: list[Source] = [ArtifactStore(settings.artifacts_uri)]
    if settings.registry_address:
        trust = partial(tls.channel_credentials, settings.tls, settings.service)
        sources.append(RegistryArtifacts(settings.registry_address, trust))
    artifacts = ArtifactFiles(Path(settings.cache_folder) / "artifacts", sources)
    async with TrialProcess() as trials:
        engine: Engine = OnnxEngine(limits, settings.model_memory_bytes, trials)
        if settings.workers > 1:
            engine = SharedTrials(engine, trials_folder(settings))
        loader = LoadVersion(artifacts, engine, ProfileFiles(), key_of(settings))
        yield ApplyPlan(models, loader, cache, LogLines(), changed)


class LogLines:
    """One line per decision about a plan."""

    def applied(self, plan: Plan) -> None:
        log.info("plan_applied", model=plan.model, revision=plan.revision, live=plan.live())

    def not_loaded(self, model: str, version: int, revision: int, reason: str) -> None:
        log.error("version_not_loaded", model=model, version=version, revision=revision, reason=reason)

    def runs_alone(self, model: str, version: int, reason: str) -> None:
        log.info("requests_run_alone", model=model, version=version, reason=reason)

    def held_up(self, plan: Plan, reason: str) -> None:
        log.error("plan_held_up", model=plan.model, revision=plan.revision, reason=reason)

    def not_cached(self, plan: Plan, reason: str) -> None:
        log.error("plan_not_cached", model=plan.model, revision=plan.revision, reason=reason)


def limits_of(settings: Settings) -> Limits:
    """What callers may cost our own front: this worker's share where there are several."""
    whole, given, count = Limits(), settings.connection, max(settings.workers, 1)
    held_bytes = max(whole.held_bytes, 3 * given.message_bytes)
    unsent_bytes = max(whole.unsent_bytes, given.message_bytes)
    return replace(
        whole,
        message_bytes=given.message_bytes,
        header_list_bytes=given.header_list_bytes,
        header_block_bytes=max(whole.header_block_bytes, 2 * given.header_list_bytes),
        streams=given.streams,
        connections=given.most,
        held_bytes=held_bytes,
        all_held_bytes=max(whole.all_held_bytes // count, held_bytes),
        unsent_bytes=unsent_bytes,
        all_unsent_bytes=max(whole.all_unsent_bytes // count, unsent_bytes),
        idle_s=given.idle_s,
        keepalive_s=given.keepalive_s,
        keepalive_answer_s=given.keepalive_answer_s,
        age_s=age_of(settings),
        age_grace_s=given.age_grace_s,
    )


def age_of(settings: Settings) -> float | None:
    """How old a connection grows, so that load spreads; None: as old as it likes. Sooner with workers: what a dead
    one's callers opened elsewhere would stay there."""
    age_s = settings.connection.age_s or (AGE_S if settings.workers <= 1 else WORKERS_AGE_S)
    return age_s if math.isfinite(age_s) else None


def transport_of(settings: Settings) -> rpc.Transports:
    """What carries gRPC, within these limits."""
    return partial(Server, limits=limits_of(settings)) if settings.front == "own" else _grpcio(settings)


def _grpcio(settings: Settings) -> rpc.Transports:
    """gRPC's own server adds the chance to the age by itself."""
    given, age_s = settings.connection, age_of(settings)
    options = {
        "grpc.max_receive_message_length": given.message_bytes,
        "grpc.max_send_message_length": given.message_bytes,
        "grpc.max_metadata_size": given.header_list_bytes,
        "grpc.max_concurrent_streams": given.streams,
        "grpc.keepalive_time_ms": milliseconds(given.keepalive_s),
        "grpc.keepalive_timeout_ms": milliseconds(given.keepalive_answer_s),
        "grpc.max_connection_idle_ms": milliseconds(given.idle_s),
    }
    if age_s is not None:
        options["grpc.max_connection_age_ms"] = milliseconds(age_s)
        options["grpc.max_connection_age_grace_ms"] = milliseconds(given.age_grace_s)
    return partial(rpc.grpcio, options=options)


def milliseconds(seconds: float) -> int:
    """As gRPC's options have them, in 31 bits."""
    return int(min(seconds * 1e3, 2**31 - 1))


def rest_limits(settings: Settings) -> http.Limits:
    """The same for the twin."""
    given = settings.connection
    return http.Limits(body_bytes=given.message_bytes, all_bodies_bytes=max(ALL_BODIES, given.message_bytes))


def bounds_of(settings: Settings) -> Bounds:
    """What one process takes in."""
    return Bounds(settings.queue_rows, settings.queue_ms, settings.on_loop_ms, settings.queue_bytes)


@asynccontextmanager
async def predicting(settings: Settings, models: LiveModels, spools: Spools, room: Room) -> AsyncIterator[Predict]:
    """Answers while the block runs; at its end the shadows that wait are scored."""
    async with AsyncExitStack() as stack:
        logging = Logging(settings.spool_strict, settings.spool_on_full)
        turns = Turns(oip.to_raw, bounds_of(settings))
        predict = Predict(models, spools.answers, spools.shadows, metrics.Meters(), turns, logging)
        stack.enter_context(metrics.exposed(models, room))
        await stack.enter_async_context(running("score shadows", predict.run_shadows()))
        stack.push_async_callback(within, 5.0, predict.drain_shadows())
        yield predict


@asynccontextmanager
async def answering(
    server: rpc.Server, rest: Rest, service: InferenceService, predict: Predict, models: LiveModels
) -> AsyncIterator[None]:
    """Calls are let in while the block runs, over gRPC and REST; ModelInfer by its lane where the front has lanes."""
    served = rpc.Service(service, oip.add_servicer, oip.SERVICE, QUIET)
    async with rest.serving(service), server.serving([served], [oip.POOL]):
        with _lane(server.transport, predict, models):
            yield


@contextmanager
def _lane(front: rpc.Transport, predict: Predict, models: LiveModels) -> Iterator[None]:
    """Only while calls are let in: the general path says why they are not."""
    if not isinstance(front, Server):
        yield
        return
    front.add_lane(PATH, InferLane(predict, models))
    predict.together = front.together
    try:
        yield
    finally:
        front.remove_lane(PATH)


@asynccontextmanager
async def spooling(settings: Settings, room: Room) -> AsyncIterator[Spools]:
    """The spools of answers and of shadows, tended while the block runs, then closed."""
    root = Path(settings.spool_folder)
    with closing(Spool(root, "answer", room)) as answers, closing(Spool(root, "shadow", room)) as shadows:
        async with running("tend the spool", every(1.0, lambda: _tend(room, answers, shadows))):
            yield Spools(answers, shadows)


async def _tend(room: Room, *spools: Spool) -> None:
    await asyncio.to_thread(room.measure)
    for spool in spools:
        try:
            await spool.tend()
        except (OSError, Unavailable) as error:
            log.error("spool_not_flushed", spool=spool.spool_id, error=str(error))


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """The work again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await work()


@asynccontextmanager
async def running(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The task while the block runs. If it fails, so does the service: a part that is gone must be seen."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


async def within(seconds: float, work: Awaitable[None]) -> None:
    """Waits for the work so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work
