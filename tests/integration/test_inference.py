"""The inference service through its own wiring, on a real Kafka: what a caller sees and what is on the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from gyrostat_common import oip
from gyrostat_common.settings import KafkaSettings
from support.graphs import a_plan, a_scorer
from support.inference import Caller, Place, a_service, payload

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
ROWS = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}


@pytest.fixture
async def caller(fresh_kafka: KafkaSettings, tmp_path: Path) -> AsyncIterator[Caller]:
    place = Place(tmp_path, fresh_kafka)
    await place.store(FLIGHTS)
    async with a_service(place) as caller:
        yield caller


async def test_an_answer_comes_back_and_lands_on_the_log(caller: Caller):
    await caller.plan(a_plan("flights", 3, FLIGHTS.planned(1)))
    reply = await caller.infer("flights", ROWS, id="r-1", parameters={"gyrostat_event_time": "2013-03-01T12:00:00Z"})
    scores = oip.outputs_of(reply)["probabilities"]
    assert np.allclose(scores[:, 1], 1 / (1 + np.exp([-1.0, -1.5])), atol=1e-6)
    assert reply.id == "r-1"
    assert reply.model_version == "1"
    assert reply.parameters["gyrostat_variant"].string_param == "champion"
    assert reply.parameters["gyrostat_revision"].int64_param == 3
    (frame,) = [payload(record) for record in await caller.logged(2)]
    assert frame.rows == 2
    assert frame.request_ids == ["r-1", "r-1"]
    assert frame.stream.startswith("answer-")
    assert [column.name for column in frame.inputs] == ["distance", "wind", "carrier"]
    assert oip.unpack_bytes(frame.inputs[2].values) == [b"UA", b"B6"]
    assert np.array_equal(np.frombuffer(frame.outputs[0].values, "<f4").reshape(2, 2), scores)
    assert np.frombuffer(frame.event_times_us, "<i8").tolist() == [1362139200_000_000] * 2
    beat = await caller.heartbeat(lambda b: any(books.accepted and not books.waiting for books in b.books))
    assert beat.revisions == {"flights": 3}
