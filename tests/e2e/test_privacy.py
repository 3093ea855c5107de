"""A value sent in a `drop` or `hash` input is nowhere afterwards: no file, topic, table, log line or span."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from deltalake import DeltaTable
from onnx import TensorProto, helper

from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient
from gyrostat_local import LocalSystem
from support.journeys import START, archived, client_of, spec
from support.otlp import Receiver
from support.system import a_system
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(180)]

SECRETS = {"dropped": "canary-dropped-4f1c77", "hashed": "canary-hashed-9b02aa"}


def _model() -> bytes:
    """A number for each of two texts, by a table: enough for the values to pass through the whole path."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"{name}_number"],
            domain="ai.onnx.ml",
            keys_strings=["a"],
            values_floats=[1.0],
            default_float=0.5,
        )
        for name in SECRETS
    ]
    nodes.append(helper.make_node("Add", ["dropped_number", "hashed_number"], ["score"]))
    inputs = [helper.make_tensor_value_info(name, TensorProto.STRING, [None, 1]) for name in SECRETS]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(helper.make_graph(nodes, "texts", inputs, outputs), opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


def _files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file, file.read_bytes()


async def _topics(client: AsyncClient) -> str:
    found = []
    async for event in client.events.tail([], from_beginning=True, follow=False):
        found.append(str(event.payload))
    return "\n".join(found)


async def test_secrets_are_nowhere(otlp: Receiver) -> None:
    environ = {**otlp.environ, "GYROSTAT_OTEL__ENABLED": "true", "GYROSTAT_OTEL__SAMPLE_RATIO": "1.0"}
    async with a_system(environ) as system, client_of(system) as client:
        answer_row = await _serve(client)
        await eventually(lambda: archived(client, "secretive", answer_row), "it is archived")
        texts = await _topics(client)
        table = DeltaTable(str(system.folder / "archive/predictions/secretive")).to_pyarrow_table()
        _is_hashed_alone(table.column_names, table.column("in_hashed").to_pylist())
        texts += str(table.to_pylist())
        await _stop(system)
        texts += f"{otlp.spans}{otlp.logs}{otlp.metrics}"
        for secret in SECRETS.values():
            assert secret not in texts
            holding = [str(file) for file, content in _files(system.folder) if secret.encode() in content]
            assert holding == []


async def _serve(client: AsyncClient) -> str:
    made = model_pb2.ModelSpec()
    made.CopyFrom(spec())
    made.task = model_pb2.TASK_REGRESSION
    made.score_output = "score"
    made.sensitivity["dropped"] = model_pb2.SENSITIVITY_DROP
    made.sensitivity["hashed"] = model_pb2.SENSITIVITY_HASH
    await client.models.create("secretive", made)
    onnx.checker.check_model(onnx.load_from_string(_model()))
    pushed = await client.versions.push("secretive", _model(), hold=True)
    await client.rollouts.promote("secretive", pushed.version.number, reason="first")
    await eventually(lambda: client.inference.ready("secretive"), "it answers")
    answer = await client.inference.predict(
        "secretive", {name: [[value]] for name, value in SECRETS.items()}, event_time=START
    )
    assert answer.outputs["score"] == pytest.approx(np.array([[1.0]], np.float32))
    return answer.row_id()


def _is_hashed_alone(columns: list[str], hashed: list[object]) -> None:
    assert "in_dropped" not in columns
    assert all(len(str(value)) == 16 for value in hashed)


async def _stop(system: LocalSystem) -> None:
    for name in ("inference", "monitor", "registry", "trainer"):
        await system.stop(name)
