"""The REST twin of a running service: the same answers and the same records on the log as by gRPC."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from gyrostat_common import oip
from gyrostat_common.settings import KafkaSettings
from support.attacks import an_endless_loop
from support.graphs import a_plan, a_scorer
from support.inference import Place, a_service, payload
from support.waiting import eventually

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
ROWS: dict[str, list[Any]] = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}
BODY = {
    "id": "r-1",
    "parameters": {"gyrostat_event_time": "2013-03-01T12:00:00Z"},
    "inputs": [
        {"name": name, "datatype": "BYTES" if name == "carrier" else "FP32", "shape": [2, 1], "data": values}
        for name, values in ROWS.items()
    ],
}
TRACE = f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01"


async def test_a_late_request_is_told_so_and_a_caller_who_goes_takes_its_run_along(
    fresh_kafka: KafkaSettings, tmp_path: Path
) -> None:
    endless = an_endless_loop()
    place = Place(tmp_path, fresh_kafka, options={"longest_run_s": 3600})
    await place.store(endless, FLIGHTS)
    base = f"http://127.0.0.1:{place.rest_port}"
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
    async with a_service(place) as caller, aiohttp.ClientSession(base) as session:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
        await caller.plan(a_plan("endless", 1, endless.planned(1)))
        late = session.post("/v2/models/endless/infer", json=body, headers={"gyrostat-timeout-ms": "300"})
        async with late as reply:
            assert (reply.status, "took too long" in (await reply.json())["error"]) == (504, True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), session.post("/v2/models/endless/infer", json=body):
                pass
        async with session.post("/v2/models/flights/infer", json=BODY) as reply:
            assert reply.status == 200
        await eventually(at_rest, "nobody computes for callers who are gone")


async def at_rest() -> bool:
    """Whether this process, the service in it, hardly computes for half a second."""
    used = time.process_time()
    await asyncio.sleep(0.5)
    return time.process_time() - used < 0.4


async def test_a_rest_request_is_answered_recorded_and_counted_as_a_grpc_one(
    fresh_kafka: KafkaSettings, tmp_path: Path
) -> None:
    place = Place(tmp_path, fresh_kafka)
    await place.store(FLIGHTS)
    base = f"http://127.0.0.1:{place.rest_port}"
    async with a_service(place) as caller, aiohttp.ClientSession(base) as session:
        async with session.post("/v2/models/flights/infer", json=BODY) as reply:
            assert reply.status == 404
        await caller.plan(a_plan("flights", 3, FLIGHTS.planned(1)))
        by_grpc = await caller.infer("flights", ROWS, id="r-1", parameters=BODY["parameters"])
        headers = {"gyrostat-entity": "e-7", "traceparent": TRACE, "gyrostat-timeout-ms": "20000"}
        async with session.post("/v2/models/flights/infer", json=BODY, headers=headers) as reply:
            by_rest = await reply.json()
            assert reply.status == 200, by_rest
        scores = oip.outputs_of(by_grpc)["probabilities"]
        assert by_rest["outputs"][0]["data"] == scores.ravel().tolist()
        assert by_rest["parameters"]["gyrostat_revision"] == 3
        async with session.get("/v2/models/flights/stats") as reply:
            (row,) = (await reply.json())["model_stats"]
        assert (row["inference_stats"]["success"]["count"], row["inference_count"]) == (2, 4)
        frames = [payload(record) for record in await caller.logged(4)]
    assert [id for frame in frames for id in frame.request_ids] == ["r-1"] * 4
    inputs = [np.frombuffer(frame.inputs[0].values, "<f4").tolist() for frame in frames]
    assert [value for values in inputs for value in values] == [1.0, 2.0] * 2
    assert {entity for frame in frames for entity in frame.entities} == {"", "e-7"}
    ids = b"".join(frame.prediction_ids for frame in frames)
    assert [trace.traceparent for frame in frames for trace in frame.traces] == [TRACE] * 2
    assert uuid.UUID(by_rest["parameters"]["gyrostat_prediction_id"]).bytes in ids
