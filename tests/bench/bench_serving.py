"""The hot path: a page of figures about our inference service with everything on (docs/performance.md).

`make bench [ARGS="w1 w2 --front own"]`, or `.venv/bin/python tests/bench/bench_serving.py [PART…] [--runs 3]
[--seconds 5] [--cpus 0,1] [--front grpcio|own]`. Without a part, all but `profile`. The service runs on the
first of --cpus, load, shipper and broker on the second. Asserts nothing about time; ends with code 1 when an answer
was wrong or missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serving import page
from bench.serving.fetched import text_detector
from bench.serving.generator import built
from bench.serving.ours import Cores
from bench.serving.profiling import profile
from bench.serving.sizes import cold_start, many_models, memory
from bench.serving.swaps import swaps
from bench.serving.throughput import Bench, front_of, large, small, streaming
from bench.serving.workers import workers
from bench.serving.workloads import w1, w1_columns, w2, w3, w4
from support.measuring import arguments as measuring
from support.measuring import begin


async def images(bench: Bench) -> None:
    """W4; a line that says why where its model cannot be had."""
    file = await asyncio.to_thread(text_detector)
    if isinstance(file, str):
        page.heading("W4: text detector")
        page.say(file)
        return
    await large(bench, w4(file))


def parts(given: argparse.Namespace) -> dict[str, Callable[[Bench], Awaitable[None]]]:
    """Every part by the word that asks for it."""
    return {
        "w1": lambda bench: small(bench, w1()),
        "w1-columns": lambda bench: small(bench, w1_columns()),
        "w2": lambda bench: large(bench, w2()),
        "w3": lambda bench: small(bench, w3()),
        "w4": images,
        "streaming": lambda bench: streaming(bench, w1()),
        "swaps": lambda bench: swaps(bench, given.swaps),
        "cold-start": cold_start,
        "memory": memory,
        "workers": workers,
        "models": lambda bench: many_models(bench, given.models),
        "profile": profile,
    }


def arguments() -> argparse.Namespace:
    parser = measuring(__doc__, runs=3)
    parser.set_defaults(cpus="0,1")
    parser.add_argument("parts", nargs="*", metavar="PART", help="w1 … models; default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run that counts")
    parser.add_argument("--front", choices=("grpcio", "own"), default="", help="default: the service's own default")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--into", default="", help="a Markdown file with marks for the parts, as docs/performance.md")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(parts(given)))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts(given))}")
    return given


def how(given: argparse.Namespace) -> str:
    server, load = given.cpus.split(",")
    return (
        f"server on processor {server}, everything else on {load}; {given.runs} runs of {given.seconds:g} s, warmed up "
        "for a second; median, least … most"
    )


async def run(given: argparse.Namespace) -> None:
    """The parts in the order of the page."""
    bench = Bench(Cores.parse(given.cpus), given.front, given.runs, given.seconds, 1.0)
    os.sched_setaffinity(0, bench.cores.load)
    for name, part in parts(given).items():
        if name in given.parts or (not given.parts and part is not profile):
            with page.part(f"{name} {front_of(bench)}", given.into, how(given)):
                try:
                    await part(bench)
                except Exception as error:  # the other parts of a page of half an hour are worth having
                    traceback.print_exc()
                    page.fault(f"{name}: {error!r}")


def main() -> None:
    """Run the command line."""
    given = arguments()
    begin("Serving", "", heading=False)
    built()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(given))
    sys.exit(page.close())


if __name__ == "__main__":
    main()
