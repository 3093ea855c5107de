"""A worker whose front is lines of text, to try the crew without graphs: `python -m support.line_worker`.

`who` answers its number, `plan` the revision it serves, `hang` stops its loop for good, `die` ends it at once, `wait`
answers when it is told to end, `again` has all try again, `agains` answers how often it did. A plan is its revision as
text.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

from gyrostat_inference.cores.channel import Channel
from gyrostat_inference.cores.handing import Receiver
from gyrostat_inference.cores.messages import Family
from gyrostat_inference.cores.station import Station, WholeReplica
from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import ModelState
from gyrostat_inference.domain.live import Applied

Answer = Callable[[str], Awaitable[str]]


class LineFront:
    """A server of lines over sockets it is given."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._talks: set[asyncio.Task[None]] = set()
        self.streams = 0

    @property
    def connections(self) -> int:
        return len(self._talks)

    def adopt(self, connection: socket.socket) -> None:
        talk = asyncio.create_task(self._talk(connection))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while line := await reader.readline():
                self.streams += 1
                reply = await self._answer(line.decode().strip())
                self.streams -= 1
                writer.write(f"{reply}\n".encode())
        except ConnectionError:
            pass
        finally:
            writer.close()


class LineWork:
    """Serves a plan by having read its revision."""

    def __init__(self) -> None:
        self.revision, self.counted, self.changed = 0, Counters(), asyncio.Event()
        self.tried_again = 0

    async def follow(self, raw: bytes) -> None:
        self.revision = int(raw)
        self.changed.set()

    async def again(self, model: str) -> None:
        self.tried_again += 1

    def states(self) -> Mapping[str, ModelState]:
        if not self.revision:
            return {}
        rows = (Applied("lines", self.revision, self.revision, True),)
        return {"lines": ModelState("lines", self.revision, self.revision, True, rows)}

    def not_ready(self) -> str | None:
        return None

    def counters(self) -> Mapping[tuple[str, int], Counters]:
        return {("lines", self.revision): self.counted}

    def written(self) -> list[Written]:
        return []

    def spool_problem(self) -> str | None:
        return None

    def families(self) -> list[Family]:
        lines = [("lines_total", {"model": "lines"}, float(self.counted.executions))]
        return [Family(name="lines", kind="counter", text="Lines answered", samples=lines)]


async def main(number: int, ends: tuple[int, int]) -> None:
    told, work = asyncio.Event(), LineWork()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    channel = await Channel.over(socket.socket(fileno=ends[0]))
    stations: list[Station] = []

    async def answer(line: str) -> str:
        work.counted.ran(1, 1)
        if line == "hang":
            time.sleep(3600)  # noqa: ASYNC251 - a loop that is stuck is what this is for
        if line == "die":
            os._exit(9)
        if line == "wait":
            await told.wait()
        if line == "total":
            counters = await WholeReplica(stations[0]).counters()
            return str(sum(each.executions for each in counters.values()))
        if line == "again":
            await stations[0].again("lines")
        return {"plan": f"{work.revision}", "agains": f"{work.tried_again}"}.get(line, f"{number}")

    front = LineFront(answer)
    receiver = Receiver(socket.socket(fileno=ends[1]), lambda _, connection: front.adopt(connection))
    station = Station(channel, front, receiver, work, told)
    stations.append(station)
    receiver.open()
    serving = asyncio.create_task(station.run(work.changed))
    await told.wait()
    receiver.close()
    await asyncio.sleep(0.05)  # what was waited for is written
    serving.cancel()
    channel.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("number", "channel", "doors"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(main(given.number, (given.channel, given.doors)))
    sys.exit(0)
