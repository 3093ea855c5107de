"""A worker process: `python -m gyrostat_inference.worker`. Answers the connections that its supervisor hands it.

Started by `supervisor` with the ends of two socketpairs: messages, and connections. It has graphs and spools of its
own, reads no log and binds no address. It ends when it is told to, or when its supervisor has.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from gyrostat_common import rpc, telemetry, tls
from gyrostat_common.health import Health
from gyrostat_common.rpc.server import HTTP2
from gyrostat_common.runtime import calm_garbage, sentence
from gyrostat_common.settings import SettingsError
from gyrostat_front import Server as Front
from gyrostat_inference.cores.channel import Channel
from gyrostat_inference.cores.handing import GRPC, Receiver
from gyrostat_inference.cores.messages import Family
from gyrostat_inference.cores.meters import families
from gyrostat_inference.cores.station import Station, WholeReplica
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import ModelState, states_of
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.plan import Plan
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.events.plans import decode_plan
from gyrostat_inference.replica import room_of
from gyrostat_inference.service import http
from gyrostat_inference.service.protocol import InferenceService
from gyrostat_inference.service.rest import Rest
from gyrostat_inference.serving import (
    Spools,
    answering,
    applying_plans,
    predicting,
    rest_limits,
    running,
    spooling,
    transport_of,
)
from gyrostat_inference.settings import Settings
from gyrostat_inference.usecases.apply_plan import ApplyPlan

log = telemetry.get_logger("inference.worker")
CLOSE_WITHIN_S, LOOK_FOR_PARENT_S = 20.0, 1.0


class NoCache:
    """The supervisor keeps the plans."""

    def read(self) -> list[tuple[Plan, bytes]]:
        return []

    def write(self, plan: Plan, raw: bytes) -> None:
        pass


class Work:
    """What the station asks this process."""

    def __init__(self, models: LiveModels, apply_plan: ApplyPlan, spools: Spools) -> None:
        self._models, self._apply_plan, self._spools = models, apply_plan, spools

    async def follow(self, raw: bytes) -> None:
        await self._apply_plan.follow(decode_plan(raw), raw)

    async def again(self, model: str) -> None:
        await self._apply_plan.again(model)

    def states(self) -> Mapping[str, ModelState]:
        return states_of(self._models, self._apply_plan.tried)

    def not_ready(self) -> str | None:
        return self._models.not_ready()

    def counters(self) -> Mapping[tuple[str, int], Counters]:
        return {
            (version.model, version.number): version.counters
            for live in self._models.models()
            for version in live.loaded.values()
        }

    def written(self) -> list[Written]:
        return self._spools.written()

    def spool_problem(self) -> str | None:
        return next((problem for problem in self._spools.problems() if problem is not None), None)

    def families(self) -> list[Family]:
        return families()


class Fronts:
    """gRPC and REST connections that were handed over; with TLS where there are certificates."""

    def __init__(
        self,
        front: Front,
        rest: Callable[[], asyncio.Protocol],
        shown: tls.Certificates | None,
        limits: http.Limits,
    ) -> None:
        self._front, self._rest = front, rest
        self._grpc_tls = None if shown is None else shown.context(HTTP2)
        self._rest_tls = http.secured(http.context_of(shown), limits)
        self._begun: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.BaseTransport] = set()

    def adopt(self, door: str, connection: socket.socket) -> None:
        """What came in by that door."""
        if door == GRPC:
            self._front.adopt(connection, self._grpc_tls)
            return
        begun = asyncio.create_task(self._begin(connection), name="begin a REST connection")
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)

    async def _begin(self, connection: socket.socket) -> None:
        with suppress(OSError):  # it has gone meanwhile
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._rest, connection, **self._rest_tls
            )
            self._open.add(transport)

    @property
    def connections(self) -> int:
        self._open -= {transport for transport in self._open if transport.is_closing()}
        return self._front.connections + len(self._open)

    @property
    def streams(self) -> int:
        return self._front.streams


@asynccontextmanager
async def open_worker(
    settings: Settings, channel: Channel, doors: socket.socket, told: asyncio.Event
) -> AsyncIterator[None]:
    """The running worker; `told` is set when it is to end. Closing: refuse calls, finish those in flight and their
    shadows, close the spools.
    """
    async with AsyncExitStack() as stack:
        stack.callback(channel.close)
        stack.enter_context(telemetry.open_telemetry("inference", settings))
        health = Health()
        shown = await stack.enter_async_context(tls.keeping(settings.tls, settings.service, health))
        server = await stack.enter_async_context(rpc.listen(None, health, transport=transport_of(settings)))
        front = server.transport
        assert isinstance(front, Front), "it can be handed connections"
        room = room_of(settings)
        spools = await stack.enter_async_context(spooling(settings, room))
        models, changed = LiveModels(), asyncio.Event()
        limits = stack.enter_context(RunLimits(settings.longest_run_s))
        apply_plan = await stack.enter_async_context(applying_plans(settings, models, limits, NoCache(), changed.set))
        await stack.enter_async_context(running("apply plans", apply_plan.run()))
        rest = Rest(health)
        ours = rest_limits(settings)
        connections = await stack.enter_async_context(http.connections(rest.answer, ours))
        fronts = Fronts(front, connections, shown, ours)
        receiver = Receiver(doors, fronts.adopt)
        station = Station(channel, fronts, receiver, Work(models, apply_plan, spools), told)
        health.need(lambda: station.reason)
        health.need(models.not_ready)
        health.alarms(lambda: station.problems)
        health.parts(lambda: {model: ok and model in station.served for model, ok in models.answering().items()})

        predict = await stack.enter_async_context(predicting(settings, models, spools, room))
        service = InferenceService(predict, models, lambda: health.look().reason, WholeReplica(station), station.again)
        await stack.enter_async_context(running("serve the supervisor", station.run(changed)))
        await stack.enter_async_context(answering(server, rest, service, predict, models))
        receiver.open()
        stack.callback(receiver.close)
        yield


async def main(ends: tuple[int, int], settings: Settings) -> None:
    """Runs until told to end, by its supervisor or by a signal, or until the supervisor is gone."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    channel, doors = (socket.socket(fileno=end) for end in ends)
    async with open_worker(settings, await Channel.over(channel), doors, told):
        calm_garbage()
        await told.wait()
        _end_by(time.monotonic() + CLOSE_WITHIN_S)
    log.info("worker_stopped")


def _end_by(latest: float) -> None:
    """Whatever hangs: in a thread of its own."""
    last = threading.Timer(latest - time.monotonic(), os._exit, (1,))
    last.daemon = True
    last.start()


def _watch(parent: int) -> None:
    """A worker whose loop is stuck does not see its channel end."""
    while os.getppid() == parent:
        time.sleep(LOOK_FOR_PARENT_S)
    _end_by(time.monotonic() + CLOSE_WITHIN_S)


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m gyrostat_inference.worker")
    parser.add_argument("--number", type=int, required=True, help="which of the replica's workers this is")
    parser.add_argument("--parent", type=int, required=True, help="process id of the supervisor; it ends when that has")
    parser.add_argument("--channel", type=int, required=True, help="open file: messages")
    parser.add_argument("--doors", type=int, required=True, help="open file: connections")
    arguments = parser.parse_args()
    structlog.contextvars.bind_contextvars(worker=arguments.number)
    try:
        loaded = Settings.load()
    except SettingsError as error:
        print(f"gyrostat_inference.worker: {error}", file=sys.stderr)
        sys.exit(2)
    threading.Thread(target=_watch, args=(arguments.parent,), name="watch the supervisor", daemon=True).start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(main((arguments.channel, arguments.doors), loaded))
        except Exception as error:  # one sentence and an exit code instead of a traceback
            print(f"gyrostat_inference.worker {arguments.number}: {sentence(error)}", file=sys.stderr, flush=True)
            os._exit(1)
    os._exit(0)
