"""What one ModelInfer costs between the front and ONNX Runtime, stage by stage, in µs of CPU, with everything on.

`.venv/bin/python tests/bench/bench_request.py [--runs 5] [--cpus 0]` loads a boosted model of 100 trees with 20
numbers, opens a spool on disk, and takes requests of 1 and of 256 rows apart: decode, route and validate, run,
record into the spool, reply, counters. The sum stands beside ONNX Runtime alone, which is what nothing can beat. Then
the lane as a whole, with 1, 8 and 64 requests in a turn of the event loop, and what the shipper adds for each row.
Asserts nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_common import oip
from gyrostat_common.clock import SystemClock
from gyrostat_common.ids import Uuids
from gyrostat_common.rpc.interceptor import calls_seconds
from gyrostat_common.runtime import calm_garbage
from gyrostat_inference.domain.admission import Bounds
from gyrostat_inference.domain.calls import Answer, Output
from gyrostat_inference.domain.engine_settings import Opening
from gyrostat_inference.domain.entries import ANSWER
from gyrostat_inference.domain.live import LiveModel, LiveModels, LoadedVersion, live_model
from gyrostat_inference.domain.plan import ArtifactRef, Plan, PlannedVersion
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.service.heads import Decoder
from gyrostat_inference.service.lane import METHOD, InferLane
from gyrostat_inference.service.metrics import Meters
from gyrostat_inference.service.replies import Replies
from gyrostat_inference.store.segments import Segments
from gyrostat_inference.store.shipping import Journal
from gyrostat_inference.store.spool import Limits, Room, Spool
from gyrostat_inference.usecases.predict import Logging, Predict
from gyrostat_inference.usecases.record import Scored, record
from gyrostat_inference.usecases.ship import IN_FLIGHT, ShipSpool
from gyrostat_inference.usecases.turns import Turns
from support.graphs import GraphFile
from support.measuring import Figure, begin, each, repeated, repeated_async
from support.measuring import arguments as measuring
from support.spools import MemoryLog
from support.trees import a_boosted_vector

FEATURES = 20


def a_live_model(folder: Path, graph: GraphFile, limits: RunLimits) -> LiveModel:
    """The graph as champion 4 of "bench", open and warm."""
    path = folder / "model.onnx"
    path.write_bytes(graph.raw)
    scorer = Graph("bench:4", path, Opening(), limits)
    scorer.warm()
    planned = PlannedVersion(4, ArtifactRef(graph.sha256), scorer.signature)
    plan = Plan("production", "bench", 7, planned)
    return live_model(plan, {4: LoadedVersion("bench", planned, scorer, Keeping({}, {}, b"k" * 32), alone="")}, {})


def a_message(rows: int) -> bytes:
    """As a client sends it: raw contents and an id."""
    request = oip.ModelInferRequest(model_name="bench", id="request-000001")
    values = np.random.default_rng(7).normal(size=(rows, FEATURES)).astype(np.float32)
    oip.add_input(request, "x", values)
    return request.SerializeToString()


def no_header(name: str) -> str:
    return ""


class Stages:
    """The parts of answering one message, each callable by itself."""

    def __init__(self, live: LiveModel, spool: Spool, message: bytes) -> None:
        self._models, self._live, self._spool, self._message = LiveModels(), live, spool, message
        self._models.swap(live)
        self._decoder, self._replies = Decoder(self._models, Uuids()), Replies()
        self._meters, self._calls = Meters(), calls_seconds.labels(METHOD, "OK")
        self._request = self.parse()
        self.decode()
        self._call = self.decode()
        self._rows = self.route()
        self._version = live.loaded[4]
        self._outputs = self.run()

    def parse(self) -> Any:
        return oip.ModelInferRequest.FromString(self._message)

    def decode(self) -> Any:
        call = self._decoder.known(self._message, no_header)
        return call or self._decoder.call_of(self.parse(), self._message, no_header)

    def route(self) -> int:
        live, call = self._models.get(self._call.model), self._call
        assert live is not None
        return live.fit(live.attempts(call)[0].number, call).rows

    def run(self) -> list[Output]:
        inputs = {spec.name: self._call.tensors[spec.name].values for spec in self._version.signature.inputs}
        arrays = self._version.scorer.run(inputs, 10.0)
        return [
            Output(spec.name, spec.datatype, array, oip.to_raw(array))
            for spec, array in zip(self._version.signature.outputs, arrays, strict=True)
        ]

    def record(self) -> None:
        scored = Scored(self._version, ANSWER, "champion", self._rows, self._outputs, 100_000)
        record(self._spool, self._live, self._call, scored, 1.0)
        self._spool.write()

    def record_in_a_turn(self) -> None:
        """With 63 others: the write is shared."""
        scored = Scored(self._version, ANSWER, "champion", self._rows, self._outputs, 100_000)
        for _ in range(64):
            record(self._spool, self._live, self._call, scored, 1.0)
        self._spool.write()

    def reply(self) -> bytes:
        return self._replies.encoded(self._request, self._call, Answer(4, "champion", 7, self._outputs))

    def count(self) -> None:
        counters = self._version.counters
        counters.success.add(1)
        counters.queue.add(0)
        counters.compute_input.add(1)
        counters.last_inference_ms = 1
        self._meters.answered("bench", 4, "champion", "OK", 0.0001)
        self._calls.observe(0.0001)

    def all(self) -> Mapping[str, Callable[[], object]]:
        return {
            "decode": self.decode,
            "route and validate": self.route,
            "run": self.run,
            "record and spool": self.record,
            "reply": self.reply,
            "counters": self.count,
        }


class Called:
    """A call as the front has it; its reply goes nowhere."""

    deadline: float | None = None
    on_gone: Callable[[], None] | None = None
    gone = False
    answered = 0

    def __init__(self, message: bytes) -> None:
        self.message = message

    def header(self, name: str) -> str:
        return ""

    def reply(self, message: bytes) -> None:
        Called.answered += 1

    def fail(self, code: int, details: str, trailing: Any = ()) -> None:
        raise AssertionError(details)


async def through_the_lane(live: LiveModel, spool: Spool, message: bytes, together: int, runs: int) -> Figure:
    """CPU of one request from its bytes to its reply's bytes, so many of them in a turn of the event loop."""
    models = LiveModels()
    models.swap(live)
    loop = asyncio.get_running_loop()
    predict = Predict(models, spool, spool, Meters(), Turns(oip.to_raw, Bounds(), loop.time), Logging())
    lane = InferLane(predict, models)
    turns = max(20, 2000 // together)

    async def once() -> float:
        began = time.process_time()
        for _ in range(turns):
            expected = Called.answered + together
            for _ in range(together):
                lane(Called(message))
            while Called.answered < expected:  # noqa: ASYNC110 - a turn of the loop is what is measured
                await asyncio.sleep(0)
        return (time.process_time() - began) / (turns * together) * 1e6

    return await repeated_async(f"the lane, {together} in a turn", "µs", runs, once)


async def shipped(folder: Path, live: LiveModel, rows: int, runs: int) -> Figure:
    """CPU of the shipper for one row, from the spool's file to the bytes of a record; the log takes it at once."""

    async def once() -> float:
        root = folder / "shipped"
        with closing(Spool(root, "answer", Room(root, Limits()))) as spool:
            stages = Stages(live, spool, a_message(rows))
            requests = max(8, 20_000 // rows)
            for _ in range(requests):
                stages.record()
            journal, log = Journal(spool.folder, 3), MemoryLog()
            semaphore = asyncio.Semaphore(IN_FLIGHT)
            ship = ShipSpool(journal, lambda after: Segments(spool.folder, after), log, SystemClock(), semaphore)
            began = time.process_time()
            while await ship.step(0.0, stopping=True) or not ship.idle:  # noqa: ASYNC110 - it works, it does not wait
                await asyncio.sleep(0)
            spent = time.process_time() - began
            journal.close()
        shutil.rmtree(root)
        return spent / (requests * rows) * 1e6

    return await repeated_async("the shipper, for each row", "µs", runs, once)


def measure(live: LiveModel, spool: Spool, rows: int, runs: int) -> None:
    """Prints a line per stage and their sum."""
    stages = Stages(live, spool, a_message(rows))
    times = 5000 if rows == 1 else 500
    session = live.loaded[4].scorer._session  # type: ignore[attr-defined]
    inputs = {"x": np.random.default_rng(7).normal(size=(rows, FEATURES)).astype(np.float32)}
    alone = repeated("ONNX Runtime alone", "µs", runs, each(times, lambda: session.run(None, inputs)))
    print(f"-- {rows} row{'s' if rows > 1 else ''} of {FEATURES} numbers")
    found = {name: repeated(name, "µs", runs, each(times, stage)) for name, stage in stages.all().items()}
    for figure in found.values():
        print(figure.line(), flush=True)
    whole = sum(figure.median for figure in found.values())
    bare = found["run"].median
    print(f"{'sum; without the run':<44} {whole:9.3g} µs        {whole - bare:.3g}")
    shared = repeated("", "", runs, each(times // 64 + 1, stages.record_in_a_turn)).median / 64
    print(f"{'record and spool, 64 in a turn':<44} {shared:9.3g} µs        {shared / rows:.3g} a row")
    print(alone.line())


async def measure_whole(folder: Path, live: LiveModel, spool: Spool, rows: int, runs: int) -> None:
    """Prints the lane and the shipper."""
    for together in (1, 8, 64) if rows == 1 else (1, 8):
        figure = await through_the_lane(live, spool, a_message(rows), together, runs)
        print(figure.line(), flush=True)
    print((await shipped(folder, live, rows, runs)).line(), flush=True)


def main() -> None:
    arguments = measuring(__doc__).parse_args()
    begin("One request", arguments.cpus)
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-bench-"))
    try:
        with ExitStack() as stack:
            limits = stack.enter_context(RunLimits(10.0))
            live = a_live_model(folder, a_boosted_vector(FEATURES), limits)
            spool = stack.enter_context(closing(Spool(folder / "spool", "answer", Room(folder / "spool", Limits()))))
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            calm_garbage()  # as a service does when it has started
            for rows in (1, 256):
                measure(live, spool, rows, arguments.runs)
                runner.run(measure_whole(folder, live, spool, rows, arguments.runs))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
