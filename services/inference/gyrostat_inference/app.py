"""What is connected to what, in which order. The only file that knows every other room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, rpc, telemetry, tls
from gyrostat_common.health import Health
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.events import plans
from gyrostat_inference.replica import Beats, Readiness, books_below, filling, replica_name, room_of, shipping
from gyrostat_inference.service import http
from gyrostat_inference.service.protocol import InferenceService
from gyrostat_inference.service.rest import Rest
from gyrostat_inference.serving import (
    Spools,
    answering,
    applying_plans,
    plan_files,
    predicting,
    rest_limits,
    running,
    spooling,
    transport_of,
)
from gyrostat_inference.settings import Settings
from gyrostat_inference.supervisor import open_replica, worker_count


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[None]:
    """The running service: this process alone, or workers under it. See `open_one` and `supervisor`."""
    async with open_one(settings) if worker_count(settings) == 1 else open_replica(settings):
        yield


@asynccontextmanager
async def open_one(settings: Settings) -> AsyncIterator[None]:
    """One process that answers. Closing: refuse calls, finish those in flight and their shadows, ship the spool."""
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry.open_telemetry("inference", settings))
        # The addresses come first: a second replica must end here, before it touches spool, cache and plans.
        health = Health()
        server, rest = await stack.enter_async_context(_addresses(settings, health))
        replica = replica_name(settings)
        models, changed = LiveModels(), asyncio.Event()
        room = room_of(settings)
        shipper = await stack.enter_async_context(shipping(settings, replica))
        spools = await stack.enter_async_context(spooling(settings, room))

        limits = stack.enter_context(RunLimits(settings.longest_run_s))
        apply_plan = await stack.enter_async_context(
            applying_plans(settings, models, limits, plan_files(settings), changed.set)
        )
        await apply_plan.restore()
        log_bus = await stack.enter_async_context(bus.open(settings.kafka))
        producer = await stack.enter_async_context(log_bus.producer())
        state = await stack.enter_async_context(
            log_bus.read_state(events_pb2.ServingPlan, plans.handler(settings.environment, apply_plan.follow))
        )
        await stack.enter_async_context(running("apply plans", apply_plan.run()))
        health.need(Readiness(models, apply_plan, state, producer).reason)
        # The models are parts of our health; what goes on without us is an alarm, and no reason to go away.
        health.parts(models.answering)
        health.alarm("kafka", lambda: producer.problem)
        health.alarm("serving.plan", lambda: state.problem)
        health.alarm("plan", models.problem)
        health.alarm("shipper", lambda: shipper.problem)
        health.alarm("spool", lambda: filling(room, spools.problems()))

        predict = await stack.enter_async_context(predicting(settings, models, spools, room))
        beats = Beats(settings, replica, models, producer, lambda: _books(settings, spools))
        await stack.enter_async_context(running("heartbeat", beats.run(changed)))
        service = InferenceService(predict, models, lambda: health.look().reason, again=apply_plan.again)
        await stack.enter_async_context(answering(server, rest, service, predict, models))
        yield


@asynccontextmanager
async def _addresses(settings: Settings, health: Health) -> AsyncIterator[tuple[rpc.Server, Rest]]:
    """Metrics, gRPC and REST: bound, and answering health."""
    transport, rest = transport_of(settings), Rest(health)
    async with (
        telemetry.serve_metrics(settings.metrics_address, health),
        tls.keeping(settings.tls, settings.service, health) as shown,
        rpc.listen(settings.grpc_address, health, transport=transport, tls=shown) as server,
        AsyncExitStack() as twin,
    ):
        if settings.rest_address:
            door = http.listening(settings.rest_address, rest.answer, rest_limits(settings), http.context_of(shown))
            await twin.enter_async_context(door)
        yield server, rest


async def _books(settings: Settings, spools: Spools) -> list[Books]:
    return await asyncio.to_thread(lambda: books_below(Path(settings.spool_folder), spools.written))
