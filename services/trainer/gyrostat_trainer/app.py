"""The wiring: opens everything in order; closing is the reverse. The only file that knows every other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gyrostat.events.v1 import events_pb2
from gyrostat.trainer.v1 import trainer_pb2_grpc
from gyrostat_common import bus as kafka
from gyrostat_common import database, outbox, rpc, telemetry, tls
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.bus import Bus
from gyrostat_common.clock import SystemClock
from gyrostat_common.errors import GyrostatError
from gyrostat_common.health import Health
from gyrostat_common.ids import RandomIds
from gyrostat_trainer.clients import RegistryClient, SnapshotCopies
from gyrostat_trainer.domain.runs import Run
from gyrostat_trainer.engine.datasets import Datasets as DatasetTables
from gyrostat_trainer.engine.workshop import Command, Limits, Workshop
from gyrostat_trainer.events import GROUP, Announcer, Hearing
from gyrostat_trainer.service import NAME, TrainerServicer
from gyrostat_trainer.settings import Settings
from gyrostat_trainer.store import Ledger
from gyrostat_trainer.usecases.datasets import Datasets
from gyrostat_trainer.usecases.decide import Decide
from gyrostat_trainer.usecases.plans import Plans
from gyrostat_trainer.usecases.runs import Runs, Start
from gyrostat_trainer.usecases.work import Work

log = telemetry.get_logger("trainer")
runs_total = telemetry.counter("gyrostat_training_runs", "Runs that ended, by how", ("status",))
decisions_total = telemetry.counter(
    "gyrostat_training_decisions", "Decisions about causes, by what was decided", ("action",)
)


class Diary:
    """Log lines and spans of the worker."""

    def tell(self, event: str, **fields: object) -> None:
        log.info(event, **fields)
        if event == "run_ended":
            runs_total.labels(fields["status"]).inc()
        if event == "decided":
            decisions_total.labels(fields["action"]).inc()

    def warn(self, event: str, **fields: object) -> None:
        log.warning(event, **fields)

    def crash(self, event: str, error: BaseException, **fields: object) -> None:
        log.error(event, exc_info=error, **fields)

    def training(self, run: Run) -> AbstractContextManager[object]:
        return telemetry.span("train", traceparent=run.traceparent, attributes={"model": run.model, "run": run.id})


@dataclass(frozen=True)
class Running:
    """A running trainer's bound ports."""

    grpc_port: int
    metrics_port: int


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[None]:
    """The trainer with Kafka."""
    async with kafka.open(settings.kafka) as bus, open_with(settings, bus):
        yield


@asynccontextmanager
async def open_with(settings: Settings, bus: Bus) -> AsyncIterator[Running]:
    """The trainer on any bus."""
    health, trust = Health(), partial(tls.channel_credentials, settings.tls, settings.service)
    with telemetry.open_telemetry("trainer", settings):
        async with (
            # The addresses come first: a second trainer must end here, before it touches ledger and group.
            telemetry.serve_metrics(settings.metrics_address, health) as metrics_port,
            tls.keeping(settings.tls, settings.service, health) as shown,
            rpc.listen(settings.grpc_address, health, deadline_s=600.0, tls=shown) as server,
            database.open(settings.database_url, "gyrostat_trainer.migrations", settings.database_schema) as db,
            rpc.connect(
                settings.registry_address, actor="gyrostat-trainer", timeout_s=30.0, credentials=trust
            ) as channel,
            bus.producer() as producer,
        ):
            core = _core(settings, db, RegistryClient(channel))
            hearing = Hearing(db, core.decide, core.plans, settings.environment)
            service = rpc.Service(core.servicer, trainer_pb2_grpc.add_TrainerServiceServicer_to_server, NAME)
            async with (
                outbox.relay(db, producer, "trainer"),
                _tasks(core.work, core.decide, settings.look_again_s),
                bus.read_state(events_pb2.ServingPlan, hearing.serving_plan) as reader,
            ):
                core.plans.begin(reader.caught_up.is_set)
                async with bus.consume(GROUP, hearing.routes()) as consumer:
                    # Runs can be started, watched and cancelled whatever the log does: alarms, no reason to go away.
                    health.alarm("kafka", lambda: producer.problem)
                    health.alarm("serving.plan", lambda: reader.problem)
                    health.alarm("consumer", lambda: consumer.problem)
                    async with server.serving([service]):
                        try:
                            yield Running(server.port, metrics_port)
                        finally:
                            # Who watches a run would be waited for: the stream has no end of its own.
                            core.work.bell.close()


@dataclass(frozen=True)
class Core:
    """The use cases, connected; what begins and ends is around them."""

    plans: Plans
    work: Work
    decide: Decide
    servicer: TrainerServicer


def _core(settings: Settings, db: database.Database, registry: RegistryClient) -> Core:
    clock, ids, diary = SystemClock(), RandomIds(), Diary()
    ledger, news, plans = Ledger(db), Announcer(db, clock), Plans()
    tables = DatasetTables(settings.datasets_uri)
    workshop = _workshop(settings, tables)
    copies = SnapshotCopies(ArtifactStore(settings.artifacts_uri), settings.snapshot_copy_limit_bytes)
    work = Work(ledger, workshop, registry, copies, (news, diary), clock)
    start = Start(ledger, registry, workshop, work, clock, ids)
    runs, datasets = Runs(ledger, news, work, clock), Datasets(ledger, tables, news, clock)
    return Core(
        plans,
        work,
        Decide(ledger, plans, workshop, clock, ids, (work.bell, diary)),
        TrainerServicer(db, start, runs, datasets, settings.environment),
    )


def _workshop(settings: Settings, tables: DatasetTables) -> Workshop:
    commands = {
        name: Command(tuple(p.command), p.folder, tuple(sorted(p.environment.items())), p.lock_file)
        for name, p in settings.pipelines.items()
    }
    limits = Limits(settings.job_timeout_s, settings.keep_run_folders)
    return Workshop(Path(settings.work_folder), settings.archive_uri, tables, commands, limits)


@asynccontextmanager
async def _tasks(work: Work, decide: Decide, look_again_s: float) -> AsyncIterator[None]:
    """The worker and the second look at waiting causes, for as long as the block runs."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(work.forever(), name="worker"),
            group.create_task(_look_again(decide, look_again_s), name="look again"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _look_again(decide: Decide, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await decide.look_again()
        except (GyrostatError, OSError) as exc:
            log.warning("look_again_failed", error=str(exc))
