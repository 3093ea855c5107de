"""The REST twin: what gRPC answers, it answers; what gRPC refuses, it refuses in the same words."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from gyrostat_common import oip
from gyrostat_inference.service.http import Asked
from support.circles import left_in_circles
from support.graphs import ELEMENTS, a_matrix, a_reshaper, a_scorer, an_echo
from support.rest import Doors, doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCORER = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
GRAPHS = {"flights": SCORER, "matrix": a_matrix(), "picky": a_reshaper()}
GRAPHS |= {f"echo-{datatype}": an_echo(datatype) for datatype in ELEMENTS}
STATUS = {"OK": 200, "INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "FAILED_PRECONDITION": 409, "UNAVAILABLE": 503}
ENTITY = "gyrostat-entity"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    async with doors(tmp_path_factory.mktemp("graphs"), GRAPHS) as served:
        yield served


def column(name: str, *values: Any, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(values), 1], "data": list(values)}


ROWS = [column("distance", 1, 2.5), column("wind", 0, -0.5), column("carrier", "UA", "ü", datatype="BYTES")]
ID = "0199d1b8-7f5e-7000-8000-000000000001"

# What is asked of both: model, version, the body of the request.
ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("flights", "", {"inputs": ROWS}),
    "nested data": ("flights", "", {"inputs": [ROWS[0] | {"data": [[1], [2.5]]}, *ROWS[1:]]}),
    "id, names and times": ("flights", "4", {"id": "r-1", "inputs": ROWS, "parameters": {
        "gyrostat_prediction_id": ID, "gyrostat_entity": "e", "gyrostat_event_time": 1362139200000000,
        "hint": 2**64 - 1}}),
    "an alias": ("flights", "champion", {"inputs": ROWS}),
    "one output": ("flights", "", {"inputs": ROWS, "outputs": [{"name": "label"}]}),
    "no batch": ("matrix", "", {"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}),
    "unknown model": ("trains", "", {"inputs": ROWS}),
    "unknown version": ("flights", "9", {"inputs": ROWS}),
    "no inputs": ("flights", "", {}),
    "unknown input": ("flights", "", {"inputs": [*ROWS, column("speed", 1, 2)]}),
    "missing input": ("flights", "", {"inputs": ROWS[:2]}),
    "input twice": ("flights", "", {"inputs": [ROWS[0], *ROWS]}),
    "other datatype": ("flights", "", {"inputs": [column("distance", 1, 2, datatype="INT64"), *ROWS[1:]]}),
    "unknown datatype": ("flights", "", {"inputs": [column("distance", 1, 2, datatype="FP31"), *ROWS[1:]]}),
    "other rows": ("flights", "", {"inputs": [column("distance", 1), *ROWS[1:]]}),
    "no rows": ("flights", "", {"inputs": [column("distance"), column("wind"), column("carrier", datatype="BYTES")]}),
    "too many rows": ("flights", "", {"inputs": [column("distance", *range(17)), column("wind", *range(17)),
                                                 column("carrier", *["a"] * 17, datatype="BYTES")]}),
    "a negative dimension": ("flights", "", {"inputs": [ROWS[0] | {"shape": [-1, -1], "data": [1]}, *ROWS[1:]]}),
    "33 dimensions": ("flights", "", {"inputs": [ROWS[0] | {"shape": [1] * 33, "data": [1]}, *ROWS[1:]]}),
    "unknown output": ("flights", "", {"inputs": ROWS, "outputs": [{"name": "scores"}]}),
    "a graph that raises": ("picky", "", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}),
    "unknown gyrostat parameter": ("flights", "", {"inputs": ROWS, "parameters": {"gyrostat_colour": "red"}}),
    "bad prediction id": ("flights", "", {"inputs": ROWS, "parameters": {"gyrostat_prediction_id": "x"}}),
    "bad event time": ("flights", "", {"inputs": ROWS, "parameters": {"gyrostat_event_time": 1.5}}),
    "sequences": ("flights", "", {"inputs": ROWS, "parameters": {"sequence_id": 3}}),
    "timeout parameter": ("flights", "", {"inputs": ROWS, "parameters": {"timeout": 3000}}),
    "classification": ("flights", "", {"inputs": ROWS, "outputs": [
        {"name": "label", "parameters": {"classification": 2}}]}),
    "shared memory": ("flights", "", {"inputs": [
        {"name": "distance", "datatype": "FP32", "shape": [2, 1], "parameters": {"shared_memory_region": "r"}},
        *ROWS[1:]]}),
    "a long id": ("flights", "", {"inputs": ROWS, "id": "x" * 2000}),
    "a NUL in the id": ("flights", "", {"inputs": ROWS, "id": "\0"}),
}  # fmt: skip


def as_message(model: str, version: str, body: dict[str, Any]) -> oip.ModelInferRequest:
    """What a gRPC caller would have sent."""
    request = oip.ModelInferRequest(model_name=model, model_version=version, id=body.get("id", ""))
    for name, value in body.get("parameters", {}).items():
        if isinstance(value, int) and value >= 2**63:
            request.parameters[name].uint64_param = value
        else:
            request.parameters[name].CopyFrom(oip.parameter(value))
    for given in body.get("inputs", []):
        tensor = request.inputs.add(name=given["name"], datatype=given["datatype"], shape=given["shape"])
        for name, value in given.get("parameters", {}).items():
            tensor.parameters[name].CopyFrom(oip.parameter(value))
        values = np.array(given.get("data", []), dtype=oip.NUMPY.get(given["datatype"], np.dtype("<f4"))).ravel()
        request.raw_input_contents.append(oip.to_raw(values))
    for given in body.get("outputs", []):
        output = request.outputs.add(name=given["name"])
        for name, value in given.get("parameters", {}).items():
            output.parameters[name].CopyFrom(oip.parameter(value))
    return request


def path_of(model: str, version: str, what: str = "/infer") -> str:
    return f"/v2/models/{model}{f'/versions/{version}' if version else ''}{what}"


def values(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {out["name"]: (out["datatype"], out["shape"], out["data"]) for out in outputs}


@pytest.mark.parametrize("name", list(ASKED))
async def test_both_doors_give_the_same_answer(served: Doors, name: str) -> None:
    model, version, body = ASKED[name]
    status, said = await served.post(path_of(model, version), json=body)
    call = served.stub.ModelInfer(as_message(model, version, body))
    code = await call.code()
    assert status == STATUS[code.name], said
    if code is not grpc.StatusCode.OK:
        assert said == {"error": await call.details()}
        return
    reply = await call
    arrays = oip.outputs_of(reply)
    assert values(said["outputs"]) == {
        tensor.name: (tensor.datatype, list(tensor.shape), arrays[tensor.name].ravel().tolist())
        for tensor in reply.outputs
    }
    parameters = {key: oip.parameter_value(value) for key, value in reply.parameters.items()}
    if name != "id, names and times":
        assert said["parameters"].pop("gyrostat_prediction_id") != parameters.pop("gyrostat_prediction_id")
    assert said["parameters"] == parameters
    assert (said["model_name"], said["model_version"], said.get("id", "")) == (model, reply.model_version, reply.id)


SAMPLES: dict[str, list[Any]] = {
    "BOOL": [True, False], "BYTES": ["a", "", "ü€", "\0"], "FP16": [1.5, "NaN", "Infinity"], "BF16": [1.5, -2.0],
    "FP32": [0.5, "-Infinity", 2.0**100], "FP64": [0.1, 1e300],
    "INT64": [-(2**63), 2**63 - 1], "UINT64": [0, 2**64 - 1],
}  # fmt: skip


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
@pytest.mark.parametrize("datatype", list(ELEMENTS))
async def test_every_datatype_comes_back_in_json_and_in_binary(
    served: Doors, datatype: str, binary_in: bool, binary_out: bool
) -> None:
    data = SAMPLES.get(datatype, [0, 1, 7])
    url = path_of(f"echo-{datatype}", "")
    tensor: dict[str, Any] = {"name": "x", "datatype": datatype, "shape": [1, len(data)], "data": data}
    _, told = await served.post(url, json={"inputs": [tensor]})
    assert told["outputs"][0]["data"] == data
    ask: dict[str, Any] = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    async with served.session.post(url, json=ask) as reply:
        whole, size = await reply.read(), int(reply.headers["Inference-Header-Content-Length"])
        assert reply.headers["Content-Type"] == "application/octet-stream"
    (said,) = json.loads(whole[:size])["outputs"]
    raw = whole[size:]
    assert said["parameters"] == {"binary_data_size": len(raw)}
    head: dict[str, Any] = {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": binary_out}}]}
    body, headers = json.dumps(head).encode(), {}
    if binary_in:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(raw)}
        body = json.dumps(head).encode()
        headers, body = {"Inference-Header-Content-Length": str(len(body))}, body + raw
    async with served.session.post(url, data=body, headers=headers) as reply:
        whole = await reply.read()
        assert reply.status == 200, whole
    if binary_out:
        assert whole.endswith(raw)
    else:
        assert json.loads(whole)["outputs"][0]["data"] == told["outputs"][0]["data"]


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", {}, "the body is no JSON"),
        (b"{", {}, "the body is no JSON"),
        (b"[" * 50_000, {}, "the body is no JSON"),
        (b"\xff", {}, "the body is no JSON"),
        (b"3", {}, "the body: a JSON object expected"),
        (b'{"inputs": {}}', {}, "inputs: a JSON list expected"),
        (b'{"inputs": [3]}', {}, "an input: a JSON object expected"),
        (b'{"inputs": [{}]}', {}, "an input's name: a text expected"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32"}]}', {}, "input 'x': its shape: a JSON list expected"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1.0]}]}', {}, "a whole number expected"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [true]}]}', {}, "a whole number expected"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}', {}, "has neither data nor binary_data_size"),
        (b'{"id": 3}', {}, "id: a text expected"),
        (b'{"id": "\\ud800"}', {}, "half a surrogate pair"),
        (b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}', {}, "half a"),
        (b'{"parameters": {"x": null}}', {}, "parameter 'x' is a text, a number of 64 bits"),
        (b'{"parameters": {"x": 18446744073709551616}}', {}, "a number of 64 bits"),
        (b'{"parameters": {"binary_data_output": 1}}', {}, "parameter 'binary_data_output' is true or false"),
        (b"{}", {"Inference-Header-Content-Length": "3"}, "the size of the JSON at the front of the body's 2 bytes"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, "the size of the JSON"),
        (b"{}", {"Inference-Header-Content-Length": "0"}, "the size of the JSON"),
        (b"{}abc", {"Inference-Header-Content-Length": "2"}, "3 bytes of binary data belong to no input"),
        (b"{}", {"gyrostat-timeout-ms": "soon"}, "gyrostat-timeout-ms is 1 to 86,400,000 milliseconds"),
        (b"{}", {"gyrostat-timeout-ms": "0"}, "gyrostat-timeout-ms is 1 to"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_request_is_refused_in_words(
    served: Doors, body: bytes, headers: dict[str, str], said: str
) -> None:
    async with served.session.post(path_of("flights", ""), data=body, headers=headers) as reply:
        found = await reply.json()
        assert reply.status == 400, found
        assert reply.headers["error-reason"]
    assert said in found["error"]


@pytest.mark.parametrize(
    ("size", "follow", "said"),
    [(9, b"12345678", "binary_data_size 9: 8 bytes of binary data are left"), (7, b"1234567", "needs 8 bytes, got 7")],
)
async def test_binary_data_of_a_wrong_size_is_refused(served: Doors, size: int, follow: bytes, said: str) -> None:
    tensor = {"name": "distance", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, found = await served.post(path_of("flights", ""), data=head + follow, headers=headers)
    assert status == 400
    assert said in found["error"]


async def test_a_large_answer_comes_as_binary_data_or_not_at_all(served: Doors) -> None:
    raw = np.arange(1_100_000, dtype="<f4").tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1_100_000], "parameters": {"binary_data_size": len(raw)}}
    for binary, status in ((True, 200), (False, 400)):
        ask = {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": binary}}]}
        head = json.dumps(ask).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        async with served.session.post(path_of("echo-FP32", ""), data=head + raw, headers=headers) as reply:
            body = await reply.read()
            assert reply.status == status, body[:300]
            assert body.endswith(raw) if binary else b"ask for it with binary_data" in body
    status, said = await served.post(path_of("echo-FP32", ""), data=b" " * (4 * 1024**2 + 1))
    assert (status, "send tensors as binary data" in said["error"]) == (400, True)


async def test_what_there_is_to_know_is_the_same_at_both_doors(served: Doors) -> None:
    about = await served.stub.ServerMetadata(oip.ServerMetadataRequest())
    assert await served.get("/v2") == (
        200, {"name": about.name, "version": about.version, "extensions": list(about.extensions)}
    )  # fmt: skip
    metadata = await served.stub.ModelMetadata(oip.ModelMetadataRequest(name="flights"))
    for version in ("", "4", "champion"):
        status, said = await served.get(path_of("flights", version, ""))
        assert status == 200
        assert (said["versions"], said["platform"]) == (["4"], "onnxruntime_onnx")
        assert said["properties"] == dict(metadata.properties)
        assert said["inputs"][0] == {"name": "distance", "datatype": "FP32", "shape": [-1, 1]}
        assert await served.get(path_of("flights", version, "/ready")) == (200, {"name": "flights", "ready": True})
    assert await served.get("/v2/models/trains/ready") == (503, {"name": "trains", "ready": False})
    status, said = await served.get("/v2/models/trains")
    assert (status, said["error"].startswith("no model is named 'trains'; served: ")) == (404, True)
    status, config = await served.get("/v2/models/flights/config")
    assert (status, config["max_batch_size"], config["input"][0]["dims"]) == (200, 16, [1])
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    status, stats = await served.get("/v2/models/flights/stats")
    assert (status, [row["version"] for row in stats["model_stats"]]) == (200, ["4"])
    assert stats["model_stats"][0]["inference_stats"]["success"] == {"count": 0, "ns": 0}
    everything = await served.get("/v2/models/stats")
    assert len(everything[1]["model_stats"]) == len(GRAPHS)


async def test_the_repository_is_the_plans(served: Doors) -> None:
    status, rows = await served.post("/v2/repository/index", json={"ready": True})
    assert status == 200
    assert {"name": "flights", "version": "4", "state": "READY", "reason": ""} in rows
    assert (await served.post("/v2/repository/index"))[0] == 200
    assert (await served.post("/v2/repository/index", json={"ready": 3}))[0] == 400
    status, said = await served.post("/v2/repository/models/flights/unload")
    assert (status, "the serving plan decides" in said["error"]) == (409, True)


async def test_health_says_why(served: Doors) -> None:
    assert await served.get("/v2/health/live") == (200, {"live": True})
    assert await served.get("/v2/health/ready") == (200, {"ready": True})
    why: list[str] = ["a part is missing"]
    served.health.need(lambda: why[0] if why else None)
    assert await served.get("/v2/health/ready") == (503, {"ready": False, "error": "a part is missing"})
    why.clear()
    assert (await served.get("/v2/health/ready"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v1/models/flights", 404, None),
        ("GET", "/v2/models", 404, None),
        ("GET", "/v2/models/flights/infer", 405, "POST"),
        ("POST", "/v2/models/flights", 405, "GET"),
        ("DELETE", "/v2/health/live", 405, "GET"),
        ("GET", "/v2/models/%00%ff/ready", 503, None),
        ("HEAD", "/v2/health/live", 200, None),
    ],
)
async def test_what_is_not_there_is_said(served: Doors, method: str, path: str, status: int, allow: str | None) -> None:
    async with served.session.request(method, path) as reply:
        assert reply.status == status
        assert reply.headers.get("Allow") == allow


async def test_a_compressed_body_is_read(served: Doors) -> None:
    body = gzip.compress(json.dumps({"inputs": ROWS}).encode())
    headers = {"Content-Encoding": "gzip"}
    async with served.session.post(path_of("flights", ""), data=body, headers=headers) as reply:
        assert reply.status == 200
    async with served.session.post(path_of("flights", ""), data=b"no gzip", headers=headers) as reply:
        assert reply.status == 400
        assert "cannot be read" in (await reply.json())["error"]


async def test_a_refused_body_is_gone_when_its_call_is_over(served: Doors):
    with left_in_circles(Asked) as left:
        for body in (b"{", json.dumps({"inputs": [*ROWS, column("speed", 1, 2)]}).encode()):
            status, _ = await served.post("/v2/models/flights/infer", data=body)
            assert status == 400
    assert left == []
