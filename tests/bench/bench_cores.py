#!/usr/bin/env python3
"""How evenly connections are spread over workers: by the kernel (SO_REUSEPORT), and handed over by one that accepts.

python tests/bench/bench_cores.py [--rounds 40]

Prints, for 2, 4 and 8 workers and 1, 8 and 64 connections, the busiest worker's connections over the mean, and over the
best there is (one connection cannot be split); the median of all rounds and the worst. The handed ones go through the
service's own doors and socketpairs. Last, what handing a connection over costs.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_inference.cores.handing import GRPC, Doors, Receiver, bound, handed
from gyrostat_inference.domain.crew import Load, least_loaded

Spread = Callable[[int, int], Awaitable[list[int]]]


async def by_the_kernel(workers: int, connections: int) -> list[int]:
    """Connections per listening socket."""
    listeners, port = [], 0
    for _ in range(workers):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        listener.listen(256)
        listener.setblocking(False)
        listeners.append(listener)
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    found = []
    for listener in listeners:
        taken = []
        try:
            while True:
                taken.append(listener.accept()[0])
        except BlockingIOError:
            found.append(len(taken))
        for one in (listener, *taken):
            one.close()
    for caller in callers:
        caller.close()
    return found


async def handed_over(workers: int, connections: int) -> list[int]:
    """Connections per worker that a supervisor hands out before the workers say anything."""
    found, given = [0] * workers, [0] * workers
    ends = [socket.socketpair() for _ in range(workers)]
    came = asyncio.Event()

    def adopt(number: int) -> Callable[[str, socket.socket], None]:
        def taken(_: str, connection: socket.socket) -> None:
            found[number] += 1
            connection.close()
            if sum(found) == connections:
                came.set()

        return taken

    receivers = [Receiver(theirs, adopt(number)) for number, (_, theirs) in enumerate(ends)]
    for (ours, _), receiver in zip(ends, receivers, strict=True):
        ours.setblocking(False)
        receiver.open()

    def offer(door: str, connection: socket.socket) -> bool:
        number = least_loaded({n: Load(given=count) for n, count in enumerate(given)})[0]
        given[number] += handed(ends[number][0], door, connection)
        return True

    (listener,) = bound("127.0.0.1:0")
    port = listener.getsockname()[1]
    doors = Doors({GRPC: [listener]}, offer)
    doors.open()
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    await came.wait()
    doors.shut()
    for receiver in receivers:
        receiver.close()
    for one in (*callers, *(ours for ours, _ in ends)):
        one.close()
    return found


async def line(spread: Spread, workers: int, connections: int, rounds: int) -> str:
    most = [max(await spread(workers, connections)) for _ in range(rounds)]
    mean, best = connections / workers, -(-connections // workers)
    middle, worst = statistics.median(most), max(most)
    return f"{middle / mean:.2f} {worst / mean:.2f} ({middle / best:.2f} {worst / best:.2f})"


async def cost_us() -> float:
    """CPU of one connection from accept to adopted, both ends, over the same with accept alone."""
    began = time.process_time()
    for _ in range(20):
        await handed_over(2, 64)
    both = time.process_time() - began
    began = time.process_time()
    for _ in range(20):
        await by_the_kernel(2, 64)
    return (both - (time.process_time() - began)) / (20 * 64) * 1e6


async def main(rounds: int) -> None:
    print("busiest worker's connections: median and worst over the mean (over the best possible)")
    print(f"{'workers':>7} {'connections':>11}  {'SO_REUSEPORT':<26}  {'handed over':<26}")
    for workers in (2, 4, 8):
        for connections in (1, 8, 64):
            kernel = await line(by_the_kernel, workers, connections, rounds)
            ours = await line(handed_over, workers, connections, rounds)
            print(f"{workers:>7} {connections:>11}  {kernel:<26}  {ours:<26}")
    print(f"handing one over costs {await cost_us():.0f} µs of CPU more than accepting it, both ends")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    asyncio.run(main(parser.parse_args().rounds))
