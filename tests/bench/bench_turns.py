"""What a turn costs: CPU of a request from `submit` to `done`, for turns of different sizes, beside the bare run and
beside the same steps one after the other without a queue. Asserts nothing.

.venv/bin/python tests/bench/bench_turns.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_common import oip
from gyrostat_common.ids import Uuids
from gyrostat_inference.domain import batching
from gyrostat_inference.domain.calls import Answer, Call
from gyrostat_inference.domain.engine_settings import Opening
from gyrostat_inference.domain.entries import ANSWER, Group, Rows
from gyrostat_inference.domain.live import LiveModel, LoadedVersion, live_model
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.service.heads import Decoder
from gyrostat_inference.usecases.record import Scored, record
from support.inference import a_request
from support.live_models import KEY, a_plan, a_version
from support.predicting import FakeLog, Predicting
from support.trees import a_boosted_vector

FEATURES, REQUESTS, TIMES = 20, 3072, 9


class Forgetful(FakeLog):
    """Keeps nothing, so that the bench does not measure its own memory."""

    def append(self, group: Group, rows: Rows) -> None:
        pass


class Patient:
    """A caller that waits."""

    gone = False
    deadline = None


def least_us(work: Callable[[], object]) -> float:
    """Of several rounds the fastest: what disturbs only adds."""
    rounds = []
    for _ in range(TIMES):
        began = time.thread_time()
        work()
        rounds.append(time.thread_time() - began)
    return min(rounds) / REQUESTS * 1e6


def directly(bench: Predicting, live: LiveModel, call: Call) -> int:
    """The steps of an answer, without a queue."""
    attempt = live.attempts(call)[0]
    version, fit = live.loaded[attempt.number], live.fit(attempt.number, call)
    arrays = version.scorer.run(batching.joined(version.signature, [call.tensors]), 5.0)
    version.counters.ran(1, 1)
    (outputs,) = batching.split(version.signature, arrays, [1], oip.to_raw)
    version.counters.success.add(1)
    record(bench.answers, live, call, Scored(version, ANSWER, attempt.variant, fit.rows, outputs, 1), 1.0)
    bench.answers.write()
    bench.meters.answered("flights", attempt.number, attempt.variant, "OK", 0.0)
    return fit.rows


async def turns(bench: Predicting, call: Call, size: int) -> None:
    def done(outcome: Answer | Exception) -> None:
        assert isinstance(outcome, Answer), outcome

    caller = Patient()
    for _ in range(REQUESTS // size):
        for _ in range(size):
            bench.predict.submit(call, done, caller)
        await asyncio.sleep(0)


async def measure(graph: Graph) -> None:
    version = LoadedVersion("flights", a_version(4, graph.signature), graph, Keeping({}, {}, KEY), alone="")
    live = live_model(a_plan(), {4: version}, {})
    bench = Predicting(live, answers=Forgetful())
    x = np.random.default_rng(1).normal(size=(1, FEATURES)).astype(np.float32)
    request = a_request("flights", {"x": x}, id="a")
    decoder, message = Decoder(bench.models, Uuids()), request.SerializeToString()
    call = [decoder.call_of(request, message, lambda name: "") for _ in range(3)][-1]
    print(f"the bare run              {least_us(lambda: [graph.run({'x': x}, 5.0) for _ in range(REQUESTS)]):6.1f} µs")
    steps = least_us(lambda: [directly(bench, live, call) for _ in range(REQUESTS)])
    print(f"its steps without a queue {steps:6.1f} µs a request")
    for size in (1, 2, 4, 8, 16, 64):
        rounds = []
        for _ in range(TIMES):
            began = time.thread_time()
            await turns(bench, call, size)
            rounds.append(time.thread_time() - began)
        print(f"turns of {size:2}               {min(rounds) / REQUESTS * 1e6:6.1f} µs a request")


def main() -> None:
    """Run the command line."""
    with tempfile.TemporaryDirectory() as folder, RunLimits(10.0) as limits:
        path = Path(folder) / "m.onnx"
        path.write_bytes(a_boosted_vector(FEATURES).raw)
        graph = Graph("flights:4", path, Opening(), limits)
        graph.warm()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(graph))


if __name__ == "__main__":
    main()
