"""Journey: data in, a run by the trainer, gates at the registry, a version with its evidence and lineage."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient
from support.journeys import START, spec
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


def _rows(file: Path, rows: int = 6000) -> Path:
    """Labelled rows: the label follows `speed`, with noise; one category, some missing values."""
    draw = np.random.default_rng(5)
    speed = draw.uniform(-2, 2, rows).astype(np.float32)
    load = draw.uniform(0, 1, rows).astype(np.float32)
    load[draw.random(rows) < 0.05] = np.nan
    label = (draw.random(rows) < 1 / (1 + np.exp(-2 * speed))).astype(np.int64)
    times = [START - timedelta(minutes=10 * (rows - number)) for number in range(rows)]
    kinds = draw.choice(["van", "truck"], rows)
    pq.write_table(pa.table({"speed": speed, "load": load, "kind": kinds, "label": label, "event_time": times}), file)
    return file


async def _create(client: AsyncClient, name: str) -> None:
    """A model that the built-in pipeline trains, once every service knows it."""
    made = spec()
    made.retrain.pipeline = "tabular"
    made.retrain.dataset = "e2e-rows"
    made.retrain.min_rows = 1000
    await client.models.create(name, made)

    async def known() -> bool:
        return any(model.name == name for model in await client.models.list())

    await eventually(known, "the model is known")


async def test_a_run_by_hand_makes_a_version_with_evidence(client: AsyncClient, tmp_path: Path) -> None:
    await _create(client, "trained")
    dataset = await client.datasets.import_file("e2e-rows", _rows(tmp_path / "rows.parquet"))
    assert dataset.rows == 6000
    started = await client.runs.start("trained", reason="the first one", hold=True, request_id="train-once")
    again = await client.runs.start("trained", reason="the first one", hold=True, request_id="train-once")
    assert again.run.id == started.run.id
    last = [run async for run in client.runs.watch(started.run.id)][-1]
    assert last.run.status == "succeeded", last.run.error

    version = await client.versions.get(f"trained:{last.run.version}")
    assert version.stage == model_pb2.STAGE_CANDIDATE
    numbers = {f"{gate.gate}.{name}": value for gate in version.gates for name, value in gate.numbers.items()}
    assert numbers["parity.max_difference"] <= 1e-5
    assert all(gate.passed for gate in version.gates)
    assert version.profile.sha256
    assert {tensor.name for tensor in version.signature.inputs} == {"speed", "load", "kind"}

    async def recorded() -> model_pb2.Run | None:
        run = await client.runs.recorded(started.run.id)
        return run if run.status == "succeeded" else None

    run = await eventually(recorded, "the registry has the run's end")
    assert run.snapshot.rows > 0
    assert len(run.snapshot.sha256) == 64
    lineage = await client.versions.lineage(f"trained:{version.number}")
    assert {"version", "run", "snapshot"} <= {node.kind for node in lineage.nodes}

    await client.rollouts.promote("trained", version.number, reason="first")
    await eventually(lambda: client.inference.ready("trained"), "it answers")
    rows = {"speed": [1.5, -1.5], "load": [0.5, float("nan")], "kind": ["van", "never seen"]}
    chances = (await client.inference.predict("trained", rows)).outputs["probabilities"][:, 1]
    assert chances[0] > 0.8
    assert chances[1] < 0.2
