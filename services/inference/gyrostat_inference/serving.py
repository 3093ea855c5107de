"""What answers: spools, models under their plans, predictions. The part of `app` that a worker has too.

Used by `app` where one process is the whole replica, and by `worker`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyrostat_common import oip, rpc, telemetry
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import Unavailable
from gyrostat_front import Server
from gyrostat_inference.clients import RegistryArtifacts
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine
from gyrostat_inference.engine.trying import TrialProcess
from gyrostat_inference.events import plans
from gyrostat_inference.service import metrics
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
        sources.append(RegistryArtifacts(settings.registry_address))
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
        stack.enter_context(metrics.exposed(models, lambda: room.used_ratio))
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
        with _lane(server.transport, InferLane(predict, models)):
            yield


@contextmanager
def _lane(front: rpc.Transport, lane: InferLane) -> Iterator[None]:
    """Only while calls are let in: the general path says why they are not."""
    if not isinstance(front, Server):
        yield
        return
    front.add_lane(PATH, lane)
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
