"""What is connected to what in the monitor, and in which order. The only module that knows all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gyrostat.events.v1.events_pb2 import ServingPlan
from gyrostat.monitor.v1.monitor_pb2_grpc import add_MonitorServiceServicer_to_server
from gyrostat_common import bus, database, outbox, rpc, telemetry, tls
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.clock import Clock, SystemClock
from gyrostat_common.database import Database
from gyrostat_common.errors import GyrostatError
from gyrostat_common.health import Health
from gyrostat_common.ids import Ids, RandomIds
from gyrostat_common.tasks import ended
from gyrostat_common.times import to_us
from gyrostat_monitor.events.consumers import Consumers
from gyrostat_monitor.events.gauges import Gauges
from gyrostat_monitor.events.heard import Archives, Hears
from gyrostat_monitor.events.said import Announcer
from gyrostat_monitor.events.words import EventWords
from gyrostat_monitor.service import MonitorServicer
from gyrostat_monitor.settings import Settings
from gyrostat_monitor.store import bodies
from gyrostat_monitor.store.archive import Archive
from gyrostat_monitor.store.counts import Counts
from gyrostat_monitor.store.history import History
from gyrostat_monitor.store.joins import Joins
from gyrostat_monitor.store.profile_files import ProfileFiles
from gyrostat_monitor.store.records import Records
from gyrostat_monitor.usecases.advance import Advance, Teller
from gyrostat_monitor.usecases.archiving import Archiving
from gyrostat_monitor.usecases.join import Join
from gyrostat_monitor.usecases.judging import Judging
from gyrostat_monitor.usecases.jumps import Jumps
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.observe import Observe
from gyrostat_monitor.usecases.outcomes import RecordOutcomes, TakeInOutcomes
from gyrostat_monitor.usecases.plans import ApplyPlan
from gyrostat_monitor.usecases.ports import Stores
from gyrostat_monitor.usecases.queries import Queries
from gyrostat_monitor.usecases.reports import Reports
from gyrostat_monitor.usecases.watch import Limits, Watch

SERVICE = "gyrostat.monitor.v1.MonitorService"
GROUP, ARCHIVE_GROUP = "monitor", "monitor.archive"
# Outcomes are one record each: a small batch would make a commit of a few hundred rows and never catch up.
MOST_RECORDS = 20_000
log = telemetry.get_logger("monitor")


@dataclass(frozen=True)
class Core:
    """The wired use cases."""

    stores: Stores
    records: Records
    counts: Counts
    joins: Joins
    history: History
    announcer: Announcer
    archive: Archive
    known: Known
    observe: Observe
    take_in: TakeInOutcomes
    record: RecordOutcomes
    plans: ApplyPlan
    archiving: Archiving
    queries: Queries


@dataclass(frozen=True)
class App:
    """A running monitor."""

    port: int
    metrics_port: int
    core: Core


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[None]:
    """The monitor as a process runs it: on Kafka, by the system's clock."""
    async with bus.open(settings.kafka) as events, opened(settings, events):
        yield


def core_of(settings: Settings, db: Database, clock: Clock, ids: Ids) -> Core:
    """Wires the use cases."""
    records, counts, joins, history = Records(db, clock), Counts(db), Joins(db), History(db)
    known = Known(
        records,
        ProfileFiles(ArtifactStore(settings.artifacts_uri)),
        clock,
        settings.environment,
        int(settings.stream_silent_s * 1e6),
    )
    announcer = Announcer(db, clock)
    archive = Archive(settings.archive_uri)
    stores = Stores(records, counts, joins, history)
    join, judging = Join(stores, known), Judging(stores, announcer, known)
    teller = Teller(history, announcer, known)
    reports = Reports(counts, known, Jumps(counts, known, bodies.jumps, bodies.jumps_text))
    advance = Advance(stores, reports, join, judging, teller, known)
    return Core(
        stores, records, counts, joins, history, announcer, archive, known, Observe(stores, known, join, advance),
        TakeInOutcomes(stores, known, join, advance), RecordOutcomes(records, announcer, known, ids),
        ApplyPlan(stores, teller, judging, known), Archiving(archive, joins, known),
        Queries(stores, archive, known),
    )  # fmt: skip


@asynccontextmanager
async def opened(
    settings: Settings, events: bus.Bus, clock: Clock | None = None, ids: Ids | None = None
) -> AsyncIterator[App]:
    """The monitor on any bus, clock and ids."""
    clock, ids = clock or SystemClock(), ids or RandomIds()
    schema, health = settings.database_schema or None, Health()
    with telemetry.open_telemetry("monitor", settings):
        async with (
            # The addresses come first: a second monitor must end here, before it touches database and groups.
            telemetry.serve_metrics(settings.metrics_address, health) as metrics_port,
            tls.keeping(settings.tls, settings.service, health) as shown,
            rpc.listen(settings.grpc_address, health, tls=shown) as server,
            database.open(settings.database_url, migrations="gyrostat_monitor.migrations", schema=schema) as db,
            events.producer() as producer,
            outbox.relay(db, producer, name="monitor", clock=clock),
        ):
            health.alarm("kafka", lambda: producer.problem)
            core = core_of(settings, db, clock, ids)
            await core.known.load()
            async with core.records.transaction():
                await core.records.touch_streams(to_us(clock.now()))
            async with (
                _running(settings, events, core, health) as consumers,
                _watching(settings, core, consumers) as watch,
            ):
                servicer = MonitorServicer(db, core.record, core.queries, EventWords(), watch, settings.archive_uri)
                service = rpc.Service(servicer, add_MonitorServiceServicer_to_server, SERVICE)
                async with server.serving([service]):
                    yield App(server.port, metrics_port, core)


@asynccontextmanager
async def _running(settings: Settings, events: bus.Bus, core: Core, health: Health) -> AsyncIterator[Consumers]:
    consumers = Consumers(events, bus.contract.GROUPS)
    # Outcomes are taken and questions answered whatever the log does: alarms, no reason to go away.
    health.alarms(consumers.problems)
    hears = Hears(core.observe, core.take_in, core.plans, settings.observe_interval_s)
    archives = Archives(core.archiving, settings.archive_interval_s)
    async with AsyncExitStack() as stack:
        plans = await stack.enter_async_context(events.read_state(ServingPlan, hears.on_plan, consumers.on_held))
        archive = await stack.enter_async_context(
            events.consume(ARCHIVE_GROUP, archives.routes(), max_records=MOST_RECORDS)
        )
        # Rows wait for the plan that names their version, so the loop may start before the plans have been read.
        loop = await stack.enter_async_context(events.consume(GROUP, hears.routes(), max_records=MOST_RECORDS))
        consumers.add(GROUP, loop)
        consumers.add(ARCHIVE_GROUP, archive)
        consumers.reads("serving.plan", plans)
        resolving = asyncio.create_task(archives.resolve(settings.watch_interval_s), name="archive.resolve")
        stack.push_async_callback(ended, resolving)
        yield consumers


@asynccontextmanager
async def _watching(settings: Settings, core: Core, consumers: Consumers) -> AsyncIterator[Watch]:
    limits = Limits(settings.no_predictions_s, settings.stuck_s)
    watch = Watch(core.stores, core.announcer, core.known, consumers, limits)
    task = asyncio.create_task(_watch(watch, settings.watch_interval_s), name="watch")
    try:
        yield watch
    finally:
        await ended(task)


async def _watch(watch: Watch, interval_s: float) -> None:
    gauges = Gauges()
    while True:
        try:
            gauges.show(*await watch.look())
            gauges.alerts(watch.firing())
        except GyrostatError as error:
            log.warning("watch_failed", detail=str(error)[:300])
        except Exception as error:  # the watch must not end in silence
            log.error("watch_failed", error=repr(error), exc_info=error)
        await asyncio.sleep(interval_s)
