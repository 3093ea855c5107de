"""What the e2e and chaos tests share: a small real model and rows for it."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient
from gyrostat_client.settings import Settings
from gyrostat_local import LocalSystem
from support.waiting import eventually

START = datetime(2026, 3, 2, tzinfo=UTC)


def logistic_onnx(slope: float = 2.0, offset: float = 0.0) -> bytes:
    """A binary classifier of two named numbers, `speed` and `load`, each [-1, 1] FP32.

    P(1) = 1 / (1 + exp(-(slope * speed + offset))); `load` enters with weight 0, so that it can be anything.
    """
    weights = numpy_helper.from_array(np.array([[slope], [0.0]], np.float32), "weights")
    shift = numpy_helper.from_array(np.array([offset], np.float32), "shift")
    one = numpy_helper.from_array(np.array([1.0], np.float32), "one")
    nodes = [
        helper.make_node("Concat", ["speed", "load"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weights"], ["product"]),
        helper.make_node("Add", ["product", "shift"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("speed", "load")]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])]
    graph = helper.make_graph(nodes, "logistic", inputs, outputs, [weights, shift, one])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def chance(speed: float, slope: float = 2.0, offset: float = 0.0) -> float:
    """What `logistic_onnx` answers."""
    return 1.0 / (1.0 + math.exp(-(slope * speed + offset)))


def spec(**rollout: float) -> model_pb2.ModelSpec:
    """A spec with short windows and roll-outs that a test can live through."""
    policy: dict[str, object] = {
        "min_paired_rows": 100,
        "min_exposure": 5,
        "max_step_s": 3600,
        "loss_margin": 0.05,
        "alpha": 0.05,
        "guard_s": 86_400,
    }
    return model_pb2.ModelSpec(
        owner="tests@example.org",
        team="tests",
        task=model_pb2.TASK_BINARY,
        score_output="probabilities",
        label=model_pb2.LabelPolicy(horizon_s=7 * 86_400, lag_s=60),
        autopilot=model_pb2.AUTOPILOT_MODE_ON,
        monitor=model_pb2.MonitorPolicy(window_s=3600, min_window_rows=50, lateness_s=60),
        rollout=model_pb2.RolloutPolicy(**(policy | rollout)),  # type: ignore[arg-type]
    )


class Traffic:
    """Rows in event time, one minute apart, and the outcomes that `logistic_onnx(slope)` would find natural."""

    def __init__(
        self, client: AsyncClient, model: str, *, seed: int = 1, slope: float = 2.0, start: datetime = START
    ) -> None:
        self._client = client
        self._model = model
        self._random = random.Random(seed)
        self._slope = slope
        self.now = start
        self.sent: dict[str, float] = {}
        self.labels: dict[str, tuple[int, datetime]] = {}

    async def send(self, rows: int = 10, *, outcomes: bool = True) -> str:
        """One request of `rows` rows, and their outcomes a minute later; returns the prediction id."""
        from gyrostat_client import Outcome

        speeds = [self._random.uniform(-2.0, 2.0) for _ in range(rows)]
        loads = [self._random.uniform(0.0, 1.0) for _ in range(rows)]
        self.now += timedelta(minutes=1)
        answer = await self._client.inference.predict(
            self._model, {"speed": speeds, "load": loads}, event_time=self.now
        )
        seen = self.now + timedelta(minutes=1)
        batch = []
        for row, speed in enumerate(speeds):
            name = answer.row_id(row)
            self.sent[name] = speed
            label = int(self._random.random() < chance(speed, self._slope))
            self.labels[name] = (label, seen)
            batch.append(Outcome(self._model, float(label), seen, prediction_id=name))
        if outcomes:
            await self._client.outcomes.record(batch)
        return answer.id


@asynccontextmanager
async def client_of(system: LocalSystem, actor: str = "test") -> AsyncIterator[AsyncClient]:
    """An SDK client of a running system."""
    async with AsyncClient(Settings.load(system.environment), actor=actor, timeout_s=20) as client:
        yield client


async def a_live_model(client: AsyncClient, name: str, *, model_spec: model_pb2.ModelSpec | None = None) -> int:
    """Create a model, push `logistic_onnx()` as version 1, promote it by hand, wait until it answers."""
    await client.models.create(name, model_spec or spec())
    pushed = await client.versions.push(name, logistic_onnx(), hold=True)
    await client.rollouts.promote(name, pushed.version.number, reason="the first version")
    await eventually(lambda: client.inference.ready(name), f"{name} answers")
    return int(pushed.version.number)


async def archived(client: AsyncClient, model: str, row_id: str) -> list[tuple[int, str]]:
    """(version, role) of every archived answer to a prediction; [] while there is none."""
    from gyrostat_common.errors import NotFound

    try:
        found = await client.quality.prediction(row_id, model=model)
    except NotFound:
        return []
    return sorted((int(answer.version), events_pb2.Role.Name(answer.role)) for answer in found.answers)


def archive_rows(system: LocalSystem, model: str) -> list[tuple[str, int, str]]:
    """Every (prediction id, version, role) in the archive's Delta table, read as any other tool would."""
    from deltalake import DeltaTable

    folder = system.folder / "archive" / "predictions" / model
    if not (folder / "_delta_log").exists():
        return []
    table = DeltaTable(str(folder)).to_pyarrow_table(columns=["prediction_id", "version", "role"])
    return [(row["prediction_id"], row["version"], row["role"]) for row in table.to_pylist()]
