"""The inference service through its own wiring, on a real Kafka: what a caller sees and what is on the log."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2
from gyrostat_common import oip
from gyrostat_common.settings import KafkaSettings
from support.graphs import ELEMENTS, a_matrix, a_plan, a_reshaper, a_scorer, an_echo
from support.inference import Caller, Place, a_request, a_service, payload, until

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
CANDIDATE = a_scorer({"distance": 2.0, "wind": -1.0}, texts=["carrier"])
ROWS = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["own", "grpcio"])
async def caller(
    kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Caller]:
    """One service on each front for all tests here; each has its own models, and "flights" is there for those that
    share.
    """
    fresh = kafka.model_copy(update={"topic_prefix": f"t{uuid.uuid4().hex[:8]}."})
    place = Place(tmp_path_factory.mktemp("inference"), fresh, options={"front": request.param})
    await place.store(FLIGHTS, CANDIDATE)
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
        yield caller


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def reason(error: grpc.aio.AioRpcError) -> str:
    return dict(error.trailing_metadata() or ()).get("error-reason", "")


async def test_an_answer_comes_back_and_lands_on_the_log(caller: Caller):
    await caller.plan(a_plan("one", 3, FLIGHTS.planned(1)))
    reply = await caller.infer("one", ROWS, id="r-1", parameters={"gyrostat_event_time": "2013-03-01T12:00:00Z"})
    scores = oip.outputs_of(reply)["probabilities"]
    assert np.allclose(scores[:, 1], 1 / (1 + np.exp([-1.0, -1.5])), atol=1e-6)
    assert reply.id == "r-1"
    assert reply.model_version == "1"
    assert reply.parameters["gyrostat_variant"].string_param == "champion"
    assert reply.parameters["gyrostat_revision"].int64_param == 3
    (record,) = await caller.logged(2, "one")
    frame = payload(record)
    assert frame.rows == 2
    assert frame.request_ids == ["r-1", "r-1"]
    assert frame.stream.startswith("answer-")
    assert frame.stream.endswith(f"/one/{record.partition}")
    assert record.event.subject == "one:1"
    assert str(uuid.UUID(bytes=frame.prediction_ids[:16])) == reply.parameters["gyrostat_prediction_id"].string_param
    assert [column.name for column in frame.inputs] == ["distance", "wind", "carrier"]
    assert oip.unpack_bytes(frame.inputs[2].values) == [b"UA", b"B6"]
    assert np.array_equal(np.frombuffer(frame.outputs[0].values, "<f4").reshape(2, 2), scores)
    assert np.frombuffer(frame.event_times_us, "<i8").tolist() == [1362139200_000_000] * 2
    assert np.frombuffer(frame.row_numbers, "<u4").tolist() == [0, 1]
    beat = await caller.heartbeat(lambda b: "one" in b.revisions and any(k.accepted and not k.waiting for k in b.books))
    assert beat.revisions["one"] == 3
    assert [(v.version, v.loaded) for v in beat.versions if v.model == "one"] == [(1, True)]


async def test_the_callers_names_and_times_are_kept(caller: Caller):
    await caller.plan(a_plan("two", 1, FLIGHTS.planned(1), spec=model_pb2.ModelSpec(entity_input="carrier")))
    ahead = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1e6)
    given = str(uuid.uuid4())
    reply = await caller.infer("two", ROWS, parameters={"gyrostat_prediction_id": given})
    assert reply.parameters["gyrostat_prediction_id"].string_param == given
    await caller.infer("two", ROWS, parameters={"gyrostat_event_time": ahead})
    frames = [payload(record) for record in await caller.logged(4, "two")]
    (frame,) = frames
    assert list(frame.entities) == ["UA", "B6"] * 2
    assert uuid.UUID(bytes=frame.prediction_ids[:16]) == uuid.UUID(given)
    times, arrivals = (np.frombuffer(raw, "<i8") for raw in (frame.event_times_us, frame.arrival_times_us))
    assert np.array_equal(times, arrivals), "a time in the future is replaced by arrival, and flagged"
    assert frame.future_event_times == b"\x0c"


async def test_champion_canary_and_shadow_score_every_request(caller: Caller):
    shadow = pb.PlannedShadow(version=FLIGHTS.planned(1), pinned=True, purpose="pinned")
    plan = a_plan("three", 1, FLIGHTS.planned(2), shadows=[shadow], rollout_id="r")
    plan.canary.CopyFrom(CANDIDATE.planned(3))
    plan.canary_weight = 5000
    await caller.plan(plan)
    replies = [await caller.infer("three", ROWS, parameters={"gyrostat_entity": f"e{n}"}) for n in range(40)]
    by_version = {int(reply.model_version) for reply in replies}
    assert by_version == {2, 3}
    again = [await caller.infer("three", ROWS, parameters={"gyrostat_entity": f"e{n}"}) for n in range(40)]
    assert [r.model_version for r in replies] == [r.model_version for r in again], "an entity stays with its version"
    frames = [payload(record) for record in await caller.logged(80 * 2 * 3, "three")]
    rows: dict[tuple[int, int], int] = {}
    for frame in frames:
        rows[frame.version, frame.role] = rows.get((frame.version, frame.role), 0) + frame.rows
    assert rows[2, pb.ROLE_ANSWER] + rows[3, pb.ROLE_ANSWER] == 160
    assert rows[2, pb.ROLE_ANSWER] == rows[3, pb.ROLE_SHADOW]
    assert rows[3, pb.ROLE_ANSWER] == rows[2, pb.ROLE_SHADOW]
    assert rows[1, pb.ROLE_SHADOW] == 160
    assert {frame.rollout_id for frame in frames} == {"r"}
    pinned = await caller.infer("three", ROWS, version="1")
    assert pinned.parameters["gyrostat_variant"].string_param == "pinned"
    error = await refused(caller.infer("three", ROWS, version="9"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "three:9 is not served; live: 1 (shadow), 2 (champion), 3 (canary 50 %)"


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"inputs": {**ROWS, "speed": [1.0, 2.0]}}, "INVALID_ARGUMENT", "flights:1: no input is named 'speed'; inputs: 'distance'"),  # noqa: E501
        ({"inputs": {"distance": [1.0]}}, "INVALID_ARGUMENT", "flights:1: input 'wind' (FP32 [-1, 1]) is missing; got 'distance'"),  # noqa: E501
        ({"inputs": {**ROWS, "wind": ["a", "b"]}}, "INVALID_ARGUMENT", "flights:1: input 'wind' is FP32 [-1, 1], got BYTES [2, 1]"),  # noqa: E501
        ({"inputs": {**ROWS, "wind": [1.0]}}, "INVALID_ARGUMENT", "input 'wind' has 1 rows, the inputs before it 2"),
        ({"inputs": {**ROWS, "wind": np.zeros((2, 2), np.float32)}}, "INVALID_ARGUMENT", "got FP32 [2, 2]"),
        ({"inputs": dict.fromkeys(("distance", "wind"), np.zeros((0, 1), np.float32)) | {"carrier": np.zeros((0, 1), object)}}, "INVALID_ARGUMENT", "flights:1: the request has no rows"),  # noqa: E501
        ({"inputs": {n: v * 5000 for n, v in ROWS.items()}}, "INVALID_ARGUMENT", "10000 rows in one request; at most 4096"),  # noqa: E501
        ({"model": "trains"}, "NOT_FOUND", "no model is named 'trains'; served: "),
        ({"version": "nobody"}, "NOT_FOUND", "flights:nobody is not served; live: 1 (champion)"),
        ({"parameters": {"gyrostat_colour": "red"}}, "INVALID_ARGUMENT", "parameter 'gyrostat_colour' is not known; known: gyrostat_prediction_id"),  # noqa: E501
        ({"parameters": {"gyrostat_prediction_id": "x"}}, "INVALID_ARGUMENT", "gyrostat_prediction_id is a UUID as text, not 'x'"),  # noqa: E501
        ({"parameters": {"gyrostat_event_time": "noon"}}, "INVALID_ARGUMENT", "gyrostat_event_time: 'noon' is not an RFC 3339 time"),  # noqa: E501
        ({"parameters": {"gyrostat_event_time": 1.5}}, "INVALID_ARGUMENT", "gyrostat_event_time is an RFC 3339 text or int64"),  # noqa: E501
    ],
)  # fmt: skip
async def test_bad_input_is_refused_in_words(caller: Caller, change: dict[str, Any], code: str, message: str):
    given = {"model": "flights", "inputs": ROWS} | change
    error = await refused(caller.infer(given.pop("model"), given.pop("inputs"), **given))
    assert error.code().name == code
    assert message in (error.details() or "")
    assert reason(error)


async def test_bytes_that_do_not_fit_are_refused(caller: Caller):
    request = a_request("flights", ROWS)
    request.raw_input_contents[1] = b"\0" * 7
    error = await refused(caller.stub.ModelInfer(request))
    assert error.details() == "flights: input 'wind': shape [2, 1] of FP32 needs 8 bytes, got 7"
    del request.raw_input_contents[2]
    error = await refused(caller.stub.ModelInfer(request))
    assert error.details() == "flights: 2 raw contents for 3 inputs; raw is for all or none"
    request = a_request("flights", ROWS)
    request.inputs[0].contents.fp32_contents.append(1.0)
    assert "typed contents beside raw" in str((await refused(caller.stub.ModelInfer(request))).details())
    request = a_request("flights", ROWS)
    request.raw_input_contents[2] = oip.pack_bytes([b"\xff", b"a"])
    assert "not UTF-8" in str((await refused(caller.stub.ModelInfer(request))).details())
    request = a_request("flights", ROWS)
    request.inputs[1].name = "distance"
    assert "is there twice" in str((await refused(caller.stub.ModelInfer(request))).details())


async def test_an_oversize_message_is_refused_and_the_next_call_answered(caller: Caller):
    huge = a_request("flights", {**ROWS, "wind": np.zeros((17_000_000, 1), np.float32)})
    error = await refused(caller.stub.ModelInfer(huge, timeout=60))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await caller.infer("flights", ROWS)


async def test_nan_is_a_value(caller: Caller):
    await caller.plan(a_plan("nan", 1, FLIGHTS.planned(1)))
    reply = await caller.infer("nan", {**ROWS, "wind": [float("nan"), 0.0]})
    scores = oip.outputs_of(reply)["probabilities"]
    assert np.isnan(scores[0]).all()
    assert not np.isnan(scores[1]).any()
    frame = payload((await caller.logged(2, "nan"))[0])
    assert np.isnan(np.frombuffer(frame.inputs[1].values, "<f4")[0])


VALUES = {"BOOL": [True, False], "BYTES": ["a", "ü"], "BF16": [16256, 16384]}


@pytest.mark.parametrize("datatype", list(ELEMENTS))
async def test_every_datatype_goes_in_and_comes_out(caller: Caller, datatype: str):
    model = f"echo-{datatype}"
    echo = an_echo(datatype)
    await caller.place.store(echo)
    await caller.plan(a_plan(model, 1, echo.planned(1)))
    array = np.array([VALUES.get(datatype, [1, 2])] * 3, dtype=oip.NUMPY[datatype])
    request = oip.ModelInferRequest(model_name=model)
    oip.add_input(request, "x", array, datatype)
    reply = await caller.stub.ModelInfer(request)
    assert (reply.outputs[0].datatype, list(reply.outputs[0].shape)) == (datatype, [3, 2])
    assert reply.raw_output_contents[0] == request.raw_input_contents[0]
    frame = payload((await caller.logged(3, model))[0])
    assert frame.inputs[0].values == frame.outputs[0].values == request.raw_input_contents[0]
    assert list(frame.inputs[0].shape) == [2]
    if datatype in oip.CONTENTS_FIELD:
        oip.fill_contents(request.inputs[0].contents, datatype, array)
        del request.raw_input_contents[:]
        typed = await caller.stub.ModelInfer(request)
        assert not typed.raw_output_contents
        assert oip.outputs_of(typed)["y"].tolist() == oip.outputs_of(reply)["y"].tolist()


async def test_shapes_without_a_batch_and_graphs_that_raise(caller: Caller):
    matrix, reshaper = a_matrix(), a_reshaper()
    await caller.place.store(matrix, reshaper)
    await caller.plan(a_plan("matrix", 1, matrix.planned(1)))
    reply = await caller.infer("matrix", {"x": np.ones((2, 3), np.float32)})
    assert oip.outputs_of(reply)["y"].tolist() == 6.0
    await caller.plan(a_plan("reshaper", 1, reshaper.planned(1)), applied=False)
    beat = await caller.heartbeat(lambda b: any(v.model == "reshaper" for v in b.versions))
    (version,) = [v for v in beat.versions if v.model == "reshaper"]
    assert not version.loaded
    assert "could not score" in version.reason
    assert not (await caller.stub.ServerReady(oip.ServerReadyRequest())).ready, "a champion is missing"
    await caller.plan(a_plan("reshaper", 2, None))
    assert (await caller.stub.ServerReady(oip.ServerReadyRequest())).ready


async def test_tritonclient_talks_to_us(caller: Caller):
    import tritonclient.grpc as triton

    await caller.plan(a_plan("triton", 1, FLIGHTS.planned(1)))

    def talk() -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{caller.place.port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("triton")
            assert not client.is_model_ready("triton", "9")
            assert not client.is_model_ready("trains")
            assert client.get_server_metadata().name == "gyrostat"
            metadata = client.get_model_metadata("triton")
            assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs][2] == ("carrier", "BYTES", [-1, 1])
            config = client.get_model_config("triton").config
            assert (config.backend, config.max_batch_size, list(config.input[0].dims)) == ("onnxruntime", 4096, [1])
            tensors = [triton.InferInput(n, [2, 1], "BYTES" if n == "carrier" else "FP32") for n in ROWS]
            for tensor, values in zip(tensors, ROWS.values(), strict=True):
                numpy_type = object if tensor.datatype() == "BYTES" else np.float32
                tensor.set_data_from_numpy(np.array([[v] for v in values], dtype=numpy_type))
            wanted = [triton.InferRequestedOutput("label")]
            result = client.infer("triton", tensors, outputs=wanted, request_id="7")
            assert result.as_numpy("label").tolist() == [1, 1]
            assert result.as_numpy("probabilities") is None
            assert result.get_response().id == "7"
            stats = client.get_inference_statistics("triton").model_stats[0]
            assert (stats.inference_count, stats.execution_count, stats.inference_stats.success.count) == (2, 1, 1)
            assert [(b.batch_size, b.compute_infer.count) for b in stats.batch_stats] == [(2, 1)]
            index = client.get_model_repository_index().models
            assert [(m.name, m.version, m.state) for m in index if m.name == "triton"] == [("triton", "1", "READY")]
            client.load_model("triton")  # it is loaded already
            with pytest.raises(triton.InferenceServerException, match="the serving plan decides") as refusal:
                client.unload_model("triton")
            assert refusal.value.status() == "StatusCode.FAILED_PRECONDITION"

    await asyncio.to_thread(talk)


async def test_a_stream_answers_each_request_and_survives_a_bad_one(caller: Caller):
    async def requests() -> AsyncIterator[oip.ModelInferRequest]:
        yield a_request("flights", ROWS, id="1")
        yield a_request("trains", ROWS, id="2")
        yield a_request("flights", ROWS, id="3")

    replies = [reply async for reply in caller.stub.ModelStreamInfer(requests())]
    assert [r.infer_response.id for r in replies] == ["1", "2", "3"]
    assert [bool(r.error_message) for r in replies] == [False, True, False]


async def test_health_metrics_and_metadata_entity(caller: Caller):
    await caller.plan(a_plan("metered", 1, FLIGHTS.planned(1)))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{caller.place.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "metered", oip.SERVICE):
            await until(lambda name=name: serving(health, name))
        entity = (("gyrostat-entity", "N14228"),)
        await oip.Stub(channel).ModelInfer(a_request("metered", ROWS), metadata=entity)
    assert list(payload((await caller.logged(2, "metered"))[0]).entities) == ["N14228"] * 2
    async with aiohttp.ClientSession(f"http://127.0.0.1:{caller.place.metrics_port}") as http:
        async with http.get("/metrics") as page:
            text = await page.text()
        async with http.get("/readyz") as page:
            assert page.status == 200
    assert 'nv_inference_count{model="metered",version="1"} 2.0' in text
    assert 'nv_inference_request_success{model="metered",version="1"} 1.0' in text
    assert 'gyrostat_live_info{model="metered",revision="1",variant="champion",version="1"} 1.0' in text
    assert "\ngyrostat_spool_used_ratio " in text
    assert 'gyrostat_inference_request_duration_seconds_count{code="OK",model="metered",variant="champion"' in text


async def serving(health: Any, name: str) -> bool:
    try:
        reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
    except grpc.aio.AioRpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
