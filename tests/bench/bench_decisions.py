"""The small figures that decisions rest on (docs/adr/0014, 0023, 0038, 0046, 0060, 0062), each beside its peer.

`.venv/bin/python tests/bench/bench_decisions.py [--runs 7] [--cpus 1]`. Asserts nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnxruntime as ort
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_client.blocking import Portal
from gyrostat_common import database
from gyrostat_common.telemetry import tracing
from gyrostat_registry.engine.reader import GraphReader
from support.measuring import Figure, arguments, begin, each, each_async, in_children, repeated, repeated_async
from support.trees import a_boosted_classifier

HELP = "import sys; from gyrostat_client.cli import main; sys.argv = ['gyrostat', '--help']; main()"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


def show(peer: Figure, *figures: Figure) -> None:
    """The peer first, then what is compared with it."""
    print(peer.line())
    for figure in figures:
        print(figure.line(peer))


def spans(runs: int) -> None:
    """ADR 14: a span that nobody records."""
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("bench")

    def entering(make: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            with make():  # type: ignore[attr-defined]
                pass

        return work

    show(
        repeated("nothing (nullcontext)", "µs", runs, each(20_000, entering(nullcontext))),
        repeated("unsampled span, ours", "µs", runs, each(20_000, entering(lambda: tracing.span("x", traceparent="")))),
        repeated(
            "unsampled span, of an unsampled caller",
            "µs",
            runs,
            each(20_000, entering(lambda: tracing.span("x", traceparent=UNSAMPLED))),
        ),
        repeated(
            "unsampled span, OpenTelemetry's SDK",
            "µs",
            runs,
            each(20_000, entering(lambda: tracer.start_as_current_span("x"))),
        ),
    )


async def small_requests(runs: int) -> None:
    """ADR 38: ten rows scored on the loop, and the hand-over to a thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(a_boosted_classifier(14, 4).raw, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    rows = {f"x{i}": rng.normal(size=(10, 1)).astype(np.float32) for i in range(14)}
    rows |= {f"c{i}": np.array([[f"k{n}"] for n in range(10)], dtype=object) for i in range(4)}
    show(
        repeated("a run of ten rows, 100 trees", "µs", runs, each(2_000, lambda: session.run(None, rows))),
        await repeated_async(
            "hand-over to a thread", "µs", runs, each_async(2_000, lambda: asyncio.to_thread(lambda: None))
        ),
    )


async def statements(runs: int, folder: Path) -> None:
    """ADR 46: one statement, by the driver alone and by SQLAlchemy and aiosqlite."""
    bare = sqlite3.connect(folder / "bare.db")
    async with database.open(f"sqlite+aiosqlite:///{folder}/bench.db") as db, db.reading() as tx:
        question = text("SELECT 1")
        show(
            repeated(
                "a statement by sqlite3 alone", "µs", runs, each(2_000, lambda: bare.execute("SELECT 1").fetchall())
            ),
            await repeated_async(
                "by SQLAlchemy and aiosqlite", "µs", runs, each_async(500, lambda: tx.execute(question))
            ),
        )
    bare.close()


async def nothing() -> None:
    """A call that does nothing."""


def hops(runs: int) -> None:
    """ADR 62: what a synchronous call costs beside the asynchronous one."""
    portal = Portal()
    show(
        asyncio.run(repeated_async("an asynchronous call, empty", "µs", runs, each_async(20_000, nothing))),
        repeated("the same by the synchronous client", "µs", runs, each(2_000, lambda: portal.call(nothing()))),
    )
    portal.close()


def graphs(runs: int, folder: Path) -> None:
    """ADR 23: what a graph declares, read in a child process."""
    file = folder / "model.onnx"
    file.write_bytes(a_boosted_classifier(14, 4).raw)
    reader = GraphReader()

    def read() -> None:
        asyncio.run(reader.signature(file))

    show(
        starting("python -c pass", runs, "-c", "pass"),
        repeated("a graph read in a child", "s CPU", runs, in_children(read)),
    )


def helping(runs: int) -> None:
    """ADR 60: the command's help, and what it would cost to import the SDK first."""
    show(
        starting("python -c pass", runs, "-c", "pass"),
        starting("gyrostat --help", runs, "-c", HELP),
        starting("importing the SDK whole", runs, "-c", "from gyrostat_client import Client"),
    )


def starting(name: str, runs: int, *arguments: str) -> Figure:
    """What a Python process takes from start to end."""

    def process() -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    return repeated(name, "s CPU", runs, in_children(process))


def main() -> None:
    """Print the figures."""
    given = arguments(__doc__, runs=7).parse_args()
    begin("What decisions rest on", given.cpus)
    spans(given.runs)
    hops(given.runs)
    helping(given.runs)
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as name:
        asyncio.run(small_requests(given.runs))
        asyncio.run(statements(given.runs, Path(name)))
        graphs(given.runs, Path(name))


if __name__ == "__main__":
    main()
