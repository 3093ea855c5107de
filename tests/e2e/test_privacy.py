"""A value sent in a `drop`, `hash` or (without a profile) `bucket` input is nowhere afterwards: no file, topic, table,
log line, span, metric, dead letter or error text. Also as the rows' entity, in calls that fail, in outcomes by entity.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from deltalake import DeltaTable
from onnx import TensorProto, helper, numpy_helper

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient, Outcome
from gyrostat_client.settings import Settings
from gyrostat_common import bus, oip
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import to_proto
from gyrostat_local import LocalSystem
from support.events import an_event
from support.journeys import START, archived, client_of, spec
from support.otlp import Receiver
from support.system import a_system
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(240)]

TEXTS = {"dropped": "canary-dropped-4f1c77", "hashed": "canary-hashed-9b02aa"}
ENTITY, WHOLE, BROKEN = "canary-entity-c03d1e", 730_555_198_234, 8_675_309.421875
BACKENDS = "canary-backend-77e0b1"
"""A backend writes this one to the topic itself: there, and in the dead letter, it lies by the backend's own hand."""
PLAIN = "not-a-secret-51d2"
"""Kept on purpose: shows that the search finds what is there."""
SECRETS = (*TEXTS.values(), ENTITY, str(WHOLE), "8675309.42")
RAW = (*(text.encode() for text in SECRETS), struct.pack("<q", WHOLE), struct.pack("<d", BROKEN))
MODELS = {"hashing": "hashed", "dropping": "dropped"}
"""Model → the input that names its entities."""
KEPT = {
    "dropped": model_pb2.SENSITIVITY_DROP,
    "hashed": model_pb2.SENSITIVITY_HASH,
    "place": model_pb2.SENSITIVITY_DROP,
    "number": model_pb2.SENSITIVITY_HASH,
    "amount": model_pb2.SENSITIVITY_BUCKET,
}
_TYPES = {"place": TensorProto.INT64, "number": TensorProto.INT64, "amount": TensorProto.DOUBLE}
GOOD: Mapping[str, Any] = {
    **{name: np.array([[text]], object) for name, text in TEXTS.items()},
    "place": np.array([[1]], np.int64),
    "number": np.array([[WHOLE]], np.int64),
    "amount": np.array([[BROKEN]], np.float64),
}


def _model() -> bytes:
    """Every input goes into the score; a `place` beyond 2 makes the graph raise, with the value in its message."""
    table = numpy_helper.from_array(np.array([0.25, 0.5, 0.75], np.float32), "table")
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
        for name in TEXTS
    ]
    nodes += [
        helper.make_node("Gather", ["table", "place"], ["place_number"]),
        helper.make_node("Equal", ["number", "number"], ["number_same"]),
        helper.make_node("Cast", ["number_same"], ["number_number"], to=TensorProto.FLOAT),
        helper.make_node("Equal", ["amount", "amount"], ["amount_same"]),
        helper.make_node("Cast", ["amount_same"], ["amount_number"], to=TensorProto.FLOAT),
        helper.make_node("Sum", [f"{name}_number" for name in KEPT], ["score"]),
    ]
    kinds = {name: _TYPES.get(name, TensorProto.STRING) for name in KEPT}
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "private", inputs, outputs, [table])
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _request(model: str, tensors: Mapping[str, Any], **parameters: Any) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name=model)
    for name, value in ({"gyrostat_entity": ENTITY} | parameters).items():
        request.parameters[name].CopyFrom(oip.parameter(value))
    for name, array in tensors.items():
        oip.add_input(request, name, array)
    return request


def _wrong(model: str) -> Iterator[tuple[str, oip.ModelInferRequest]]:
    """Requests that fail, with every secret in them: what the error must say, and the request."""
    for name, secret in TEXTS.items():
        text = np.array([[secret]], object)
        yield "number' is INT64", _request(model, {**GOOD, "number": text})
        yield f"{name}' is BYTES", _request(model, {**GOOD, name: np.array([[secret, secret]], object)})
        yield "is missing", _request(model, {name: text})
        yield "no input is named", _request(model, {**GOOD, "more": text})
        cut = _request(model, GOOD)
        cut.raw_input_contents[list(GOOD).index(name)] += secret.encode()
        yield "follow after them", cut
        typed = oip.ModelInferRequest(model_name=model)
        typed.inputs.add(name=name, datatype="BYTES", shape=[2, 1]).contents.bytes_contents.append(secret.encode())
        yield "needs 2 values", typed
        other = _request(model, GOOD)
        other.raw_input_contents[list(GOOD).index(name)] = (
            struct.pack("<I", 1 + len(secret)) + secret.encode() + b"\xff"
        )
        yield "not UTF-8", other
    yield "could not score", _request(model, {**GOOD, "place": np.array([[WHOLE]], np.int64)})
    yield "place' is INT64", _request(model, {**GOOD, "place": np.array([[BROKEN]], np.float64)})
    yield "amount' is FP64", _request(model, {**GOOD, "amount": np.array([[WHOLE]], np.int64)})
    yield "is a text", _request(model, GOOD, gyrostat_entity=BROKEN)


def _holding(folder: Path, secrets: tuple[bytes, ...], but: tuple[str, ...] = ()) -> list[str]:
    """Files below, except in the folders `but`, that hold one of the secrets."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).parts[0] not in but:
            with suppress(FileNotFoundError):  # a segment was shipped meanwhile
                content = file.read_bytes()
                found += [f"{file}: {secret!r}" for secret in secrets if secret in content]
    return found


async def _topics(client: AsyncClient) -> bytes:
    found = []
    async for event in client.events.tail([], from_beginning=True, follow=False):
        found.append(str(event).encode())
        if event.payload is not None:
            found.append(event.payload.SerializeToString())
    return b"\n".join(found)


async def test_secrets_are_nowhere(otlp: Receiver) -> None:
    environ = {**otlp.environ, "GYROSTAT_OTEL__ENABLED": "true", "GYROSTAT_OTEL__SAMPLE_RATIO": "1.0"}
    async with a_system(environ) as system, client_of(system) as client, _stub(system) as stub:
        said = []
        for model, entity_input in MODELS.items():
            row = await _serve(client, model, entity_input)
            said += [await _refused(stub, request, why) for why, request in _wrong(model)]
            assert _holding(system.folder, RAW) == [], "while the spool may still hold the rows"
            await eventually(lambda model=model, row=row: archived(client, model, row), "it is archived")  # type: ignore[misc]
            await eventually(lambda model=model: _watched(client, model), "the monitor knows the plan")  # type: ignore[misc]
            said.append(await _outcomes(client, model))
        topics = await _topics(client)
        tables = _tables(system)
        assert await _dead_letters(client) == {}
        await _stop(system)
        texts = topics + f"{said}{tables}{otlp.spans}{otlp.logs}{otlp.metrics}".encode()
        assert PLAIN.encode() in topics
        assert PLAIN in str(tables)
        assert _holding(system.folder, (PLAIN.encode(),))
        assert [secret for secret in RAW if secret in texts] == []
        assert _holding(system.folder, RAW) == []


async def test_a_plain_entity_that_a_backend_writes_to_the_topic_goes_into_no_table_and_no_log(otlp: Receiver) -> None:
    environ = {**otlp.environ, "GYROSTAT_OTEL__ENABLED": "true", "GYROSTAT_OTEL__SAMPLE_RATIO": "1.0"}
    async with a_system(environ) as system, client_of(system) as client:
        row = await _serve(client, "hashing", "hashed")
        await eventually(lambda: _watched(client, "hashing"), "the monitor knows the plan")
        by = events_pb2.PredictionRef
        plain = by(entity=by.ByEntity(entity=BACKENDS, at=to_proto(START)))
        async with bus.open(Settings.load(system.environment).kafka) as log, log.producer() as producer:
            for ref in (plain, by(prediction_id=row)):
                seen = to_proto(START + timedelta(minutes=1))
                outcome = events_pb2.OutcomeRecorded(model="hashing", prediction=ref, value=1.0, observed_at=seen)
                await producer.send(an_event(outcome, key="the backend's", subject="hashing"))
        await eventually(lambda: _judged(client, row), "the outcome by id is archived")
        assert await eventually(lambda: _dead_letters(client), "the other one is a dead letter") == {"monitor.dlq": 1}
        tables = _tables(system)
        await _stop(system)
        assert BACKENDS not in f"{tables}{otlp.spans}{otlp.logs}{otlp.metrics}"
        assert _holding(system.folder, (BACKENDS.encode(),), but=("kafka",)) == []


async def _serve(client: AsyncClient, model: str, entity_input: str) -> str:
    made = model_pb2.ModelSpec()
    made.CopyFrom(spec())
    made.task, made.score_output, made.entity_input = model_pb2.TASK_REGRESSION, "score", entity_input
    for name, kept in KEPT.items():
        made.sensitivity[name] = kept
    await client.models.create(model, made)
    pushed = await client.versions.push(model, _model(), hold=True)
    await client.rollouts.promote(model, pushed.version.number, reason="first")
    await eventually(lambda: client.inference.ready(model), "it answers")
    answer = await client.inference.predict(model, GOOD, event_time=START, entity=ENTITY, request_id=PLAIN)
    assert answer.outputs["score"] == pytest.approx(np.array([[3.5]], np.float32))
    return answer.row_id()


@asynccontextmanager
async def _stub(system: LocalSystem) -> AsyncIterator[oip.Stub]:
    async with grpc.aio.insecure_channel(Settings.load(system.environment).inference_address) as channel:
        yield oip.Stub(channel)


async def _refused(stub: oip.Stub, request: oip.ModelInferRequest, why: str) -> str:
    """All that the caller is told."""
    with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT") as error:
        await stub.ModelInfer(request, metadata=(("gyrostat-entity", ENTITY),))
    told = error.value
    assert why in str(told.details()), told.details()
    return f"{told.details()} {told.debug_error_string()} {list(told.trailing_metadata() or ())}"


async def _outcomes(client: AsyncClient, model: str) -> str:
    """All that a caller is told who names a plain entity."""
    said = []
    for secret in (*TEXTS.values(), ENTITY):
        outcome = Outcome(model, 1.0, START + timedelta(minutes=1), entity=secret, at=START)
        with pytest.raises(InvalidInput, match="its prediction id or its request id") as error:
            await client.outcomes.record([outcome])
        said.append(str(error.value))
    return str(said)


async def _watched(client: AsyncClient, model: str) -> bool:
    status = await client.quality.status(model)
    return any(found.model == model and found.archived_rows for found in status.models)


async def _dead_letters(client: AsyncClient) -> dict[str, int]:
    return {topic: count for topic, count in (await client.events.dead_letters()).items() if count}


async def _judged(client: AsyncClient, row: str) -> bool:
    return bool(await archived(client, "hashing", row)) and bool(
        (await client.quality.prediction(row, model="hashing")).outcomes
    )


def _tables(system: LocalSystem) -> dict[str, list[dict[str, Any]]]:
    """The archive's rows; files are compressed, so that a search in them alone would find nothing."""
    found = {}
    for log in (system.folder / "archive").glob("*/*/_delta_log"):
        rows = DeltaTable(str(log.parent)).to_pyarrow_table().to_pylist()
        found[str(log.parent)] = rows
        if log.parent.parent.name == "predictions":
            _is_as_little_as_allowed(log.parent.name, rows)
    assert found
    return found


def _is_as_little_as_allowed(model: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert {name for name in row if name.startswith("in_")} == {"in_hashed", "in_number"}
        assert all(len(row[name]) == 16 for name in ("in_hashed", "in_number"))
        assert row["entity"] == (row["in_hashed"] if MODELS[model] == "hashed" else "") or row["entity"] is None


async def _stop(system: LocalSystem) -> None:
    for name in ("inference", "monitor", "registry", "trainer"):
        await system.stop(name)
