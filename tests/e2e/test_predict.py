"""Journey: a call is answered, logged, archived; its outcome is joined; anybody can look it up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta

import pytest

from gyrostat.monitor.v1.monitor_pb2 import JoinedOutcome
from gyrostat_client import AsyncClient, Outcome
from gyrostat_client.explain import explain
from gyrostat_local import LocalSystem
from support.journeys import START, Traffic, a_live_model, archive_rows, archived, chance
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_an_answer_is_archived_with_what_was_asked_and_said(client: AsyncClient) -> None:
    await a_live_model(client, "asked")
    answer = await client.inference.predict(
        "asked", {"speed": [0.5, -1.0], "load": [0.1, 0.2]}, event_time=START, entity="truck-7", request_id="r-1"
    )
    assert answer.outputs["probabilities"][:, 1] == pytest.approx([chance(0.5), chance(-1.0)], abs=1e-6)
    assert (answer.variant, answer.version, answer.request_id) == ("champion", "1", "r-1")

    await eventually(lambda: archived(client, "asked", answer.row_id(1)), "row 1 is in the archive")
    found = await client.quality.prediction(answer.row_id(1), model="asked")
    [row] = found.answers
    assert json.loads(row.inputs_json)["speed"] == pytest.approx(-1.0)
    assert json.loads(row.outputs_json)["probabilities"][-1] == pytest.approx(chance(-1.0), abs=1e-6)
    assert row.event_time.ToDatetime() == START.replace(tzinfo=None)
    assert row.frame_no >= 1


async def test_outcomes_join_by_all_three_names_and_the_latest_recording_wins(client: AsyncClient) -> None:
    await a_live_model(client, "named")
    at = START + timedelta(hours=1)
    answer = await client.inference.predict(
        "named", {"speed": [1.0], "load": [0.0]}, event_time=at, entity="truck-9", request_id="order-12"
    )
    seen = at + timedelta(minutes=5)
    later = START + timedelta(days=200)
    await client.outcomes.record(
        [
            Outcome("named", 1.0, seen, prediction_id=answer.row_id(), source="meter", recorded_at=later),
            Outcome(
                "named", 0.0, seen, prediction_id=answer.row_id(), source="meter", recorded_at=later - timedelta(days=1)
            ),
            Outcome("named", 1.0, seen, request_id="order-12", source="desk", recorded_at=later),
            Outcome(
                "named", 0.0, seen, entity="truck-9", at=at + timedelta(minutes=1), source="driver", recorded_at=later
            ),
        ]
    )

    # The last prediction before a time is known when the watermark has passed that time.
    await client.inference.predict("named", {"speed": [1.0], "load": [0.0]}, event_time=at + timedelta(hours=1))

    async def all_four() -> list[JoinedOutcome] | None:
        if not await archived(client, "named", answer.row_id()):
            return None
        joined = (await client.quality.prediction(answer.row_id(), model="named")).outcomes
        return list(joined) if len(joined) == 4 else None

    joined = await eventually(all_four, "all four outcomes are joined")
    assert {outcome.source for outcome in joined} == {"meter", "desk", "driver"}
    assert not any(outcome.winner for outcome in joined if outcome.source == "meter" and outcome.value == 0.0)
    assert len([outcome for outcome in joined if outcome.winner]) >= 1


async def test_an_outcome_for_an_unknown_prediction_waits_and_joins_when_it_comes(client: AsyncClient) -> None:
    await a_live_model(client, "early")
    name = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001"
    await client.outcomes.record([Outcome("early", 1.0, START + timedelta(minutes=9), prediction_id=f"{name}/0")])

    async def parked() -> bool:
        return any(m.model == "early" and m.outcomes_parked == 1 for m in (await client.quality.status()).models)

    await eventually(parked, "the outcome is parked")
    await client.inference.predict("early", {"speed": [0.0], "load": [0.0]}, event_time=START, prediction_id=name)

    async def joined() -> bool:
        if not await archived(client, "early", f"{name}/0"):
            return False
        return len((await client.quality.prediction(f"{name}/0", model="early")).outcomes) == 1

    await eventually(joined, "the parked outcome found its prediction")


async def test_every_answer_is_in_the_archive_once(client: AsyncClient, system: LocalSystem) -> None:
    await a_live_model(client, "counted")
    traffic = Traffic(client, "counted")
    for _ in range(40):
        await traffic.send(rows=8)

    async def all_there() -> bool:
        return len(archive_rows(system, "counted")) >= len(traffic.sent)

    await eventually(all_there, "320 rows are archived")
    rows = archive_rows(system, "counted")
    assert sorted(rows) == sorted((name, 1, "answer") for name in traffic.sent)


async def test_a_retry_with_the_same_prediction_id_is_answered_archived_and_counted_once(client: AsyncClient) -> None:
    await a_live_model(client, "retried")
    name = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0002"
    values = {"speed": [0.5, -0.5], "load": [0.0, 0.0]}
    first = await client.inference.predict("retried", values, event_time=START, prediction_id=name)
    again = await client.inference.predict("retried", values, event_time=START, prediction_id=name)
    assert (first.id, first.outputs["probabilities"].tolist()) == (again.id, again.outputs["probabilities"].tolist())

    async def told() -> bool:
        return await archived(client, "retried", f"{name}/1") == [(1, "ROLE_ANSWER")] * 2

    await eventually(told, "both answers are in the archive")
    seen = START + timedelta(minutes=1)
    await client.outcomes.record([Outcome("retried", 1.0, seen, prediction_id=f"{name}/{i}") for i in range(2)])

    async def counted() -> bool:
        rows = await client.quality.get("retried")
        return [(row.version, row.predictions, row.outcomes) for row in rows] == [(1, 2, 2)]

    await eventually(counted, "each row counts once")
    (status,) = (await client.quality.status("retried")).models
    assert (dict(status.archived_rows), status.repeated_rows) == ({"1/answer": 4}, 2)
    explained = await explain(client, f"{name}/0")
    assert "asked again with this id 1 time" in explained.text


async def test_tritons_own_client_is_answered(client: AsyncClient, system: LocalSystem) -> None:
    await a_live_model(client, "triton")
    script = """
import sys
import numpy as np
import tritonclient.grpc as triton
c = triton.InferenceServerClient(sys.argv[1])
assert c.is_server_ready() and c.is_model_ready("triton")
assert [i.name for i in c.get_model_metadata("triton").inputs] == ["speed", "load"]
values = {"speed": np.array([[0.5]], np.float32), "load": np.array([[0.0]], np.float32)}
inputs = []
for name, value in values.items():
    tensor = triton.InferInput(name, list(value.shape), "FP32")
    tensor.set_data_from_numpy(value)
    inputs.append(tensor)
print(float(c.infer("triton", inputs).as_numpy("probabilities")[0, 1]))
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, system.address("inference")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(chance(0.5), abs=1e-6)
