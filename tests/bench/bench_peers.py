"""The same model file, core, load and checks for our service and the servers that people use today.

`make bench-peers [ARGS="w1 mlserver kserve --runs 3"]`, or `.venv/bin/python tests/bench/bench_peers.py [NAME…]`. Names
are workloads (w1, w2) and servers (mlserver, mlserver-batching, kserve, pytriton, triton); default: all. Each server
comes from PyPI, as peers/<name>.txt pins it, into an environment of its own below build/peers. One that cannot be
installed or does not answer is a line that says why. Asserts nothing about time; ends with code 1 when an answer was
wrong or missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serving import page
from bench.serving.generator import Load, Measured, Target, built, h2load, measure
from bench.serving.ours import Cores, ours
from bench.serving.peer import PEERS, Peer, Unusable, serving
from bench.serving.throughput import EIGHT, MANY, ONE, Bench, front_of, ort_alone
from bench.serving.workloads import Workload, w1, w2
from support.measuring import arguments as measuring
from support.measuring import begin

WORKLOADS = {"w1": w1, "w2": w2}


@dataclass
class Found:
    """Every load of one workload on one server."""

    name: str
    loads: list[Measured] = field(default_factory=list)
    problem: str = ""


def loads_of(workload: Workload, bench: Bench) -> list[tuple[str, Load]]:
    """(what it is called, how it is called)."""
    if workload.rows > 1:
        return [("8 streams", bench.load(EIGHT))]
    return [
        ("1 stream", bench.load(ONE)),
        ("64 streams", bench.load(MANY)),
        ("64 streams, headers repeat", bench.load(replace(MANY, headers="same"))),
    ]


def measured(name: str, target: Target, workload: Workload, model: str, bench: Bench, folder: Path) -> Found:
    """Every load, the last one by h2load too."""
    requests = workload.write(folder / "requests", [model])
    found = Found(name)
    for what, load in loads_of(workload, bench):
        found.loads.append(measure(what, target, requests, load, bench.runs))
    if workload.rows == 1:
        body, (what, load) = workload.messages(model)[0], loads_of(workload, bench)[-1]
        found.loads.append(h2load(f"{what}, h2load", target, body, load, found.loads[-1], bench.runs))
    return found


async def our_part(workload: Workload, bench: Bench, folder: Path) -> Found:
    """Our service, everything on; its books at the end."""
    async with ours(bench.cores, bench.front) as service:
        await service.serve("bench", workload.graph)
        found = measured(f"Gyrostat, {front_of(bench)} front", service.target, workload, "bench", bench, folder)
        service.rows += sum(run.answered for load in found.loads for run in load.runs) * workload.rows
        page.books("Gyrostat", await service.books())
        page.say()
        return found


async def peer_part(peer: Peer, workload: Workload, bench: Bench, folder: Path) -> Found:
    """One peer; a reason in place of figures where it cannot be had."""
    try:
        async with serving(peer, workload, bench.cores, folder) as target:
            return measured(peer.title, target, workload, "bench", bench, folder)
    except Unusable as reason:
        return Found(peer.title, problem=str(reason))


async def table(workload: Workload, peers: Sequence[Peer], bench: Bench) -> None:
    """One workload on all servers, and how many times the peers' rate ours is."""
    page.heading(f"{workload.name}: {workload.title}")
    bare = ort_alone(workload, bench)
    page.say(f"ONNX Runtime alone: {bare.median:.1f} µs a run ({min(bare.values):.1f} … {max(bare.values):.1f})\n")
    found = []
    with tempfile.TemporaryDirectory(prefix="gyrostat-peers-") as name:
        folder = Path(name)
        found.append(await our_part(workload, bench, folder))
        for peer in peers:
            found.append(await peer_part(peer, workload, bench, folder))
    page.head("Gyrostat is", "its CPU is", heads=("server", *page.HEADS))
    for server in found:
        if server.problem:
            page.cells(server.name, f"left out: {server.problem}", *[""] * (len(page.HEADS) + 1))
        for place, load in enumerate(server.loads):
            page.load(load, *_beside(found[0].loads[place], load, server is found[0]), before=(server.name,))


def _beside(ours: Measured, theirs: Measured, same: bool) -> tuple[str, str]:
    """How many times as many requests a second ours answers, and how many times as much CPU the other takes for one."""
    cost = ours.median(lambda run: run.cpu_us)
    if same or not theirs.rate or not cost:
        return "", ""
    return f"{ours.rate / theirs.rate:.1f} x", f"{theirs.median(lambda run: run.cpu_us) / cost:.1f} x ours"


def arguments() -> argparse.Namespace:
    parser = measuring(__doc__, runs=3)
    parser.set_defaults(cpus="0,1")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*WORKLOADS, *PEERS])}; default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run that counts")
    parser.add_argument("--front", choices=("grpcio", "own"), default="", help="ours; default: the service's own")
    parser.add_argument("--into", default="", help="a Markdown file with marks for the tables, as docs/performance.md")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - {*WORKLOADS, *PEERS})
    if unknown:
        parser.error(f"no such server or workload: {', '.join(unknown)}")
    return given


def how(given: argparse.Namespace) -> str:
    server, load = given.cpus.split(",")
    return (
        f"each server alone on processor {server}, the load on {load}; {given.runs} runs of {given.seconds:g} s, "
        "warmed up for a second; median, least … most"
    )


async def run(given: argparse.Namespace) -> None:
    bench = Bench(Cores.parse(given.cpus), given.front, given.runs, given.seconds, 1.0)
    os.sched_setaffinity(0, bench.cores.load)
    peers = [PEERS[name] for name in PEERS if name in given.names] or list(PEERS.values())
    for name, make in WORKLOADS.items():
        if name in given.names or not set(given.names) & set(WORKLOADS):
            with page.part(f"peers {name} {front_of(bench)}", given.into, how(given)):
                await table(make(), peers, bench)


def main() -> None:
    """Run the command line."""
    given = arguments()
    begin("Our service and its peers", "", heading=False)
    built()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(given))
    sys.exit(page.close())


if __name__ == "__main__":
    main()
