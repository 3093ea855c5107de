"""What one ModelInfer costs between the front and ONNX Runtime, stage by stage, in µs of CPU, with everything on.

`.venv/bin/python tests/bench/bench_request.py [--runs 5] [--cpus 0]` loads a boosted model of 100 trees with 20
numbers, opens a spool on disk, and takes requests of 1 and of 256 rows apart: parse, decode, route and validate, run,
record into the spool, reply, counters. The sum stands beside ONNX Runtime alone, which is what nothing can beat.
Asserts nothing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_common import oip
from gyrostat_common.rpc.interceptor import calls_seconds
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import Answer, Output
from gyrostat_inference.domain.entries import ANSWER
from gyrostat_inference.domain.live import LiveModel, LiveModels, LoadedVersion, live_model
from gyrostat_inference.domain.plan import ArtifactRef, Plan, PlannedVersion
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import chosen_outputs, rows_of
from gyrostat_inference.engine import RunLimits
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.service.decoding import call_of, reply_of
from gyrostat_inference.service.metrics import Meters
from gyrostat_inference.store.spool import Limits, Room, Spool
from gyrostat_inference.usecases.record import Scored, record
from support.graphs import GraphFile
from support.measuring import arguments as measuring
from support.measuring import begin, each, repeated
from support.trees import a_boosted_vector

FEATURES = 20


def a_live_model(folder: Path, graph: GraphFile, limits: RunLimits) -> LiveModel:
    """The graph as champion 4 of "bench", open and warm."""
    path = folder / "model.onnx"
    path.write_bytes(graph.raw)
    scorer = Graph("bench:4", path, 1, limits)
    scorer.warm()
    planned = PlannedVersion(4, ArtifactRef(graph.sha256), scorer.signature)
    plan = Plan("production", "bench", 7, planned)
    return live_model(plan, {4: LoadedVersion("bench", planned, scorer, Keeping({}, {}, b"k" * 32))}, {})


def a_message(rows: int) -> bytes:
    """As a client sends it: raw contents and an id."""
    request = oip.ModelInferRequest(model_name="bench", id="request-000001")
    values = np.random.default_rng(7).normal(size=(rows, FEATURES)).astype(np.float32)
    oip.add_input(request, "x", values)
    return request.SerializeToString()


class Stages:
    """The parts of answering one message, each callable by itself."""

    def __init__(self, live: LiveModel, spool: Spool, message: bytes) -> None:
        self._models, self._live, self._spool, self._message = LiveModels(), live, spool, message
        self._models.swap(live)
        self._meters = Meters()
        self._request = self.parse()
        self._call = self.decode()
        self._rows = self.route()
        self._outputs = self.run()
        self._version = live.loaded[4]

    def parse(self) -> Any:
        return oip.ModelInferRequest.FromString(self._message)

    def decode(self) -> Any:
        return call_of(self._request, (), 4096)

    def route(self) -> int:
        live, call = self._models.get(self._call.model), self._call
        assert live is not None
        attempt = routing.attempts(live.plan, live.loaded, call.version, call.prediction_id.hex())[0]
        version = live.loaded[attempt.number]
        chosen_outputs(version.name, version.signature, call.outputs)
        return rows_of(version.name, version.signature, call.tensors, live.known_inputs, 4096)

    def run(self) -> list[Output]:
        version = self._live.loaded[4]
        inputs = {spec.name: self._call.tensors[spec.name].values for spec in version.signature.inputs}
        arrays = version.scorer.run(inputs, 0.1)
        version.counters.ran(self._rows, 1)
        return [
            Output(spec.name, spec.datatype, array, oip.to_raw(array))
            for spec, array in zip(version.signature.outputs, arrays, strict=True)
        ]

    def record(self) -> None:
        record(
            self._spool,
            self._live,
            self._call,
            Scored(self._version, ANSWER, "champion", self._rows, self._outputs, 100_000),
        )

    def reply(self) -> bytes:
        return reply_of(self._request, self._call, Answer(4, "champion", 7, self._outputs)).SerializeToString()

    def count(self) -> None:
        counters = self._version.counters
        counters.success.add(1)
        counters.queue.add(0)
        counters.compute_input.add(1)
        counters.last_inference_ms = 1
        self._meters.answered("bench", 4, "champion", "OK", 0.0001)
        calls_seconds.labels("inference.GRPCInferenceService/ModelInfer", "OK").observe(0.0001)

    def all(self) -> Mapping[str, Callable[[], object]]:
        return {
            "parse": self.parse,
            "decode": self.decode,
            "route and validate": self.route,
            "run": self.run,
            "record and spool": self.record,
            "reply": self.reply,
            "counters": self.count,
        }


def measure(live: LiveModel, spool: Spool, rows: int, runs: int) -> None:
    """Prints a line per stage and their sum."""
    stages = Stages(live, spool, a_message(rows))
    times = 2000 if rows == 1 else 300
    session = live.loaded[4].scorer._session  # type: ignore[attr-defined]
    inputs = {"x": np.random.default_rng(7).normal(size=(rows, FEATURES)).astype(np.float32)}
    alone = repeated("ONNX Runtime alone", "µs", runs, each(times, lambda: session.run(None, inputs)))
    print(f"-- {rows} row{'s' if rows > 1 else ''} of {FEATURES} numbers")
    whole = 0.0
    for name, stage in stages.all().items():
        figure = repeated(name, "µs", runs, each(times, stage))
        whole += figure.median
        print(figure.line(), flush=True)
    print(f"{'sum':<44} {whole:9.3g} µs")
    print(alone.line())


def main() -> None:
    arguments = measuring(__doc__).parse_args()
    begin("One request", arguments.cpus)
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-bench-"))
    try:
        with ExitStack() as stack:
            limits = stack.enter_context(RunLimits(10.0))
            live = a_live_model(folder, a_boosted_vector(FEATURES), limits)
            spool = stack.enter_context(closing(Spool(folder / "spool", "answer", Room(folder / "spool", Limits()))))
            for rows in (1, 256):
                measure(live, spool, rows, arguments.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
