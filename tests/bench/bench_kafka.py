"""How fast the local broker starts and ends, and how much memory it takes: the figures of docs/kafka.md.

`.venv/bin/python tests/bench/bench_kafka.py [--runs 3] [--cpus 0,1]`. Ready = a metadata request is answered and names
a broker. The peer of every time is the start of a bare Java runtime in the same run. Asserts nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.kafka import Broker
from support.measuring import Figure, arguments, begin, timed

WHAT = {
    "java": "a bare Java runtime (java -version)",
    "first": "first start, formatting included",
    "stop": "orderly stop",
    "again": "start in a folder that exists",
    "killed": "start after kill -9",
}


def life(folder: Path, seconds: dict[str, list[float]], megabytes: list[float]) -> None:
    """One broker's life: born, stopped, started, killed, started."""
    with timed(seconds["java"]):
        subprocess.run(["java", "-version"], check=True, capture_output=True)
    broker = Broker(folder)
    try:
        with timed(seconds["first"]):
            broker.start()
        megabytes.append(memory(broker))
        with timed(seconds["stop"]):
            broker.stop()
        with timed(seconds["again"]):
            broker.start()
        broker.kill()
        with timed(seconds["killed"]):
            broker.start()
    finally:
        broker.kill()


def memory(broker: Broker) -> float:
    """MiB resident, of the broker's process and what it started."""
    assert broker.process is not None
    process = psutil.Process(broker.process.pid)
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20


def main() -> None:
    """Print the figures."""
    given = arguments(__doc__, runs=3).parse_args()
    begin("Kafka on this machine", given.cpus)
    seconds: dict[str, list[float]] = {name: [] for name in WHAT}
    megabytes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gyrostat-bench-") as folder:
        for run in range(given.runs + 1):
            life(Path(folder) / f"broker-{run}", seconds, megabytes)
    figures = {name: Figure(what, "s", tuple(seconds[name][1:])) for name, what in WHAT.items()}
    for figure in figures.values():
        print(figure.line(figures["java"] if figure is not figures["java"] else None))
    print(Figure("memory (RSS) when ready", "MiB", tuple(megabytes[1:])).line())


if __name__ == "__main__":
    main()
