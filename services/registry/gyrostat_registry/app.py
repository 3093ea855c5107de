"""What is connected to what in the registry, and in which order. The only module that knows all others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gyrostat.events.v1.events_pb2 import ServingPlan
from gyrostat.registry.v1.registry_pb2_grpc import add_RegistryServiceServicer_to_server
from gyrostat_common import bus, database, outbox, rpc, telemetry, tls
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.clock import Clock, SystemClock
from gyrostat_common.database import Database
from gyrostat_common.errors import GyrostatError
from gyrostat_common.health import Health
from gyrostat_common.ids import Ids, RandomIds
from gyrostat_registry.domain.paging import LARGEST_SIZE, Page
from gyrostat_registry.engine.reader import GraphReader
from gyrostat_registry.events.gauges import Gauges
from gyrostat_registry.events.heard import PlanMirror, routes
from gyrostat_registry.events.said import Announcer
from gyrostat_registry.service import RegistryServicer, encode
from gyrostat_registry.settings import Settings
from gyrostat_registry.store import Store
from gyrostat_registry.store.blobs import Blobs
from gyrostat_registry.usecases.autopilot import Autopilot
from gyrostat_registry.usecases.cases import Cases
from gyrostat_registry.usecases.catalogue import Catalogue
from gyrostat_registry.usecases.champions import Champions
from gyrostat_registry.usecases.evidence import Evidence
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.moves import Moves
from gyrostat_registry.usecases.plans import Changes, Plans
from gyrostat_registry.usecases.repair import Repair
from gyrostat_registry.usecases.rollouts import Rollouts
from gyrostat_registry.usecases.runs import Runs
from gyrostat_registry.usecases.versions import Versions

SERVICE = "gyrostat.registry.v1.RegistryService"
log = telemetry.get_logger("registry")


@dataclass(frozen=True)
class Core:
    """The wired use cases and what stands beside them."""

    cases: Cases
    repair: Repair
    gauges: Gauges
    announcer: Announcer
    changes: Changes


@dataclass(frozen=True)
class App:
    """A running registry."""

    port: int
    metrics_port: int
    core: Core


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[None]:
    """The registry as a process runs it: on Kafka, by the system's clock."""
    async with bus.open(settings.kafka) as log_of_events, opened(settings, log_of_events):
        yield


@asynccontextmanager
async def opened(
    settings: Settings, events: bus.Bus, clock: Clock | None = None, ids: Ids | None = None
) -> AsyncIterator[App]:
    """The registry on any bus, clock and ids."""
    clock, ids = clock or SystemClock(), ids or RandomIds()
    health, mirror = Health(), PlanMirror()
    schema = settings.database_schema or None
    with telemetry.open_telemetry("registry", settings):
        async with (
            # The addresses come first: a second registry must end here, before it touches database and group.
            telemetry.serve_metrics(settings.metrics_address, health) as metrics_port,
            tls.keeping(settings.tls, settings.service, health) as shown,
            rpc.listen(settings.grpc_address, health, tls=shown) as server,
            database.open(settings.database_url, migrations="gyrostat_registry.migrations", schema=schema) as db,
            events.producer() as producer,
            outbox.relay(db, producer, name="registry", clock=clock),
        ):
            core = wired(settings, db, clock, ids, mirror)
            await _show_all(core)
            async with (
                events.read_state(ServingPlan, mirror.heard, mirror.on_held) as reader,
                _comparing(core, mirror, reader, settings.compare_every_s),
                events.consume("registry", routes(core.cases, db, clock)) as consumer,
            ):
                # People must be able to roll back just when the log is in trouble: alarms, no reason to go away.
                health.alarm("kafka", lambda: producer.problem)
                health.alarm("serving.plan", lambda: reader.problem)
                health.alarm("consumer", lambda: consumer.problem)
                async with server.serving([_service(core, db)]):
                    try:
                        yield App(server.port, metrics_port, core)
                    finally:
                        # Streams of plans have no end of their own; a server that closes would wait for them.
                        core.changes.close()


def wired(settings: Settings, db: Database, clock: Clock, ids: Ids, mirror: PlanMirror) -> Core:
    """The use cases on a database."""
    store, ledger, changes, gauges = Store(db), Ledger(clock), Changes(), Gauges()
    announcer = Announcer(db, clock, gauges, encode.plan, changes.tell)
    moves = Moves(announcer, ledger, clock, ids)
    rollouts = Rollouts(store, moves, ledger)
    autopilot = Autopilot(store, moves, ledger, clock)
    uploads = Path(settings.uploads_folder)
    blobs = Blobs(ArtifactStore(settings.artifacts_uri), uploads, settings.largest_artifact_bytes)
    graphs = GraphReader(timeout_s=settings.graph_timeout_s)
    repair = Repair(store, moves, announcer, ledger, clock, mirror)
    cases = Cases(
        catalogue=Catalogue(store, moves, autopilot, ledger, clock),
        versions=Versions(store, rollouts, blobs, graphs, ledger, clock),
        runs=Runs(store, ledger, clock, ids),
        rollouts=rollouts,
        champions=Champions(store, moves, ledger),
        autopilot=autopilot,
        plans=Plans(store, changes),
        repair=repair,
        evidence=Evidence(store),
    )
    return Core(cases, repair, gauges, announcer, changes)


def _service(core: Core, db: Database) -> rpc.Service:
    return rpc.Service(RegistryServicer(core.cases, db), add_RegistryServiceServicer_to_server, SERVICE)


async def _show_all(core: Core) -> None:
    for environment in await core.cases.catalogue.environments():
        page = Page(LARGEST_SIZE)
        while True:
            listed = await core.cases.plans.list(environment, "", page)
            for plan in listed.rows:
                core.gauges.show(plan)
            if not listed.last:
                break
            page = Page(LARGEST_SIZE, listed.last)


@asynccontextmanager
async def _comparing(core: Core, mirror: PlanMirror, reader: bus.StateReader, every_s: float) -> AsyncIterator[None]:
    async def run() -> None:
        mirror.reads(reader)
        await reader.caught_up.wait()
        sure = True
        while True:
            mirror.held.clear()
            count = await _compared(core, mirror, sure)
            sure = sure and count is None
            # Events that wait in the outbox hide what the log holds: look again soon. Not more than once a second.
            await asyncio.sleep(min(every_s, 1.0))
            if count is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(every_s - 1.0, 0.0)):
                        await mirror.held.wait()

    task = asyncio.create_task(run(), name="compare plans")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _compared(core: Core, mirror: PlanMirror, sure: bool) -> int | None:
    try:
        # Another registry on the same database may have made plans that this one has not shown.
        await _show_all(core)
        count = await core.repair.compare(mirror.last, mirror.highest, sure=sure)
    except GyrostatError as error:
        log.warning("plans_not_compared", error=str(error))
        return 0
    if count:
        log.warning("plans_republished", plans=count)
    return count
