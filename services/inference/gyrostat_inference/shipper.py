"""The shipper process: `python -m gyrostat_inference.shipper`. Ships every spool below the folder, living or dead.

Started by the service as a child, or by hand; several may run, each holds the spools that it has locked. With
`--parent` it ends soon after that process has, when the dead spools are through.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, telemetry
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.bus import Producer, contract
from gyrostat_common.clock import SystemClock
from gyrostat_common.runtime import calm_garbage
from gyrostat_common.settings import SettingsError
from gyrostat_inference.events.frames import FrameSender
from gyrostat_inference.settings import Settings
from gyrostat_inference.store.segments import Segments
from gyrostat_inference.store.shipping import Journal, NotesDamaged, Taken, spools
from gyrostat_inference.store.spool import writer_alive
from gyrostat_inference.usecases.ship import IN_FLIGHT, ShipSpool

log = telemetry.get_logger("inference.shipper")
POLL_S, LOOK_S, PUBLISH_S, AFTER_PARENT_S = 0.04, 0.5, 0.5, 10.0


class Shipper:
    """Adopts spools and ships each in a task of its own."""

    def __init__(self, root: Path, producer: Producer, artifacts: ArtifactStore, replica: str, partitions: int) -> None:
        self._root, self._producer, self._artifacts = root, producer, artifacts
        self._replica, self._partitions = replica, partitions
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self.stopping = False

    async def run(self, ended: Callable[[], bool]) -> None:
        """Until `ended`, or, once stopping, until everything that is there has been shipped."""
        while not ended():
            for folder in spools(self._root):
                if folder not in self._tasks and not (self.stopping and writer_alive(folder)):
                    self._adopt(folder)
            if self.stopping and not self._tasks:
                return
            await asyncio.sleep(POLL_S if self.stopping else LOOK_S)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _adopt(self, folder: Path) -> None:
        try:
            journal = Journal(folder, self._partitions)
        except (Taken, FileNotFoundError):
            return
        except (OSError, NotesDamaged) as error:  # tried again at the next look
            log.error("spool_not_adopted", spool=folder.name, error=str(error))
            return
        log.info("spool_adopted", spool=folder.name, writer_alive=writer_alive(folder))
        task = asyncio.create_task(self._ship(folder, journal), name=folder.name)
        self._tasks[folder] = task
        task.add_done_callback(lambda _: self._tasks.pop(folder, None))

    async def _ship(self, folder: Path, journal: Journal) -> None:
        """One spool to its end. After a failure it is taken up again from its notes."""
        sender = FrameSender(self._producer, self._artifacts, journal, self._replica)
        reader: list[Segments] = []

        def read_after(sequence: int) -> Segments:
            reader.append(Segments(folder, sequence))
            return reader[-1]

        ship = ShipSpool(journal, read_after, sender, SystemClock(), self._in_flight)
        gone = False
        try:
            await ship.resume()
            await self._to_the_end(folder, journal, ship)
            journal.retire(ship.accepted)
            gone = True
            log.info("spool_finished", spool=folder.name, rows=ship.accepted)
        except Exception as error:  # of whatever kind: the other spools go on
            log.error("spool_interrupted", spool=folder.name, error=repr(error))
        finally:
            await ship.close()
            for each in reader:
                each.close()
            if not gone:
                journal.close()

    async def _to_the_end(self, folder: Path, journal: Journal, ship: ShipSpool) -> None:
        loop = asyncio.get_running_loop()
        published, looked, alive = 0.0, 0.0, True
        while True:
            now = loop.time()
            if now - looked >= LOOK_S or self.stopping:
                looked, alive = now, writer_alive(folder)
            worked = await ship.step(now, stopping=not alive)
            if now - published >= PUBLISH_S:
                published = now
                journal.publish(ship.accepted)
            if not worked and not alive:
                ship.finish()
                if ship.idle:
                    return
            await asyncio.sleep(0 if ship.behind else POLL_S)  # a look at each turn of the service would cost as much


@asynccontextmanager
async def open_shipper(settings: Settings, replica: str) -> AsyncIterator[Shipper]:
    """Everything that the shipper needs, and it."""
    async with AsyncExitStack() as stack:
        stack.enter_context(telemetry.open_telemetry("inference", settings))
        log_bus = await stack.enter_async_context(bus.open(settings.kafka))
        producer = await stack.enter_async_context(log_bus.producer())
        partitions = contract.of_message(events_pb2.PredictionLogged).partitions
        shipper = Shipper(
            Path(settings.spool_folder), producer, ArtifactStore(settings.artifacts_uri), replica, partitions
        )
        try:
            yield shipper
        finally:
            await shipper.close()


async def main(parent: int, replica: str, settings: Settings) -> None:
    """Runs until told to stop. SIGTERM: ships what is there, then ends."""
    loop = asyncio.get_running_loop()
    ends_at = float("inf")
    async with open_shipper(settings, replica) as shipper:
        calm_garbage()

        def stop() -> None:
            nonlocal ends_at
            if not shipper.stopping:
                shipper.stopping, ends_at = True, loop.time() + max(settings.ship_at_close_s, 0.5)

        def ended() -> bool:
            nonlocal ends_at
            if parent and os.getppid() != parent and not shipper.stopping:
                shipper.stopping, ends_at = True, loop.time() + AFTER_PARENT_S
            return loop.time() >= ends_at

        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_signal_handler(signal.SIGINT, stop)
        await shipper.run(ended)


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m gyrostat_inference.shipper")
    parser.add_argument("--parent", type=int, default=0, help="end soon after this process has")
    parser.add_argument("--replica", default="shipper", help="name of the replica whose answers these are")
    arguments = parser.parse_args()
    try:
        loaded = Settings.load()
    except SettingsError as error:
        print(f"gyrostat_inference.shipper: {error}", file=sys.stderr)
        sys.exit(2)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.parent, arguments.replica, loaded))
