"""Journey, the whole loop: the world changes, an episode is confirmed, a candidate is trained, proven, promoted.

Nobody calls the trainer or starts a roll-out: the test only asks for predictions and tells outcomes. Traces are
sampled at 1 %; the chain of causes is complete all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient, Outcome
from gyrostat_client.events import TailedEvent
from gyrostat_client.explain import Link, explain
from support.journeys import START, archived, chance, client_of, spec
from support.system import a_system
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(300)]

MODEL = "changing"
STEP = timedelta(minutes=10)
ROWS = 20
BY_HAND = ("CreateModel", "StartTraining", "Promote", "rollout.promote")


def _labelled(file: Path, rows: int = 8000) -> Path:
    """The world before: P(1) rises with `speed`; `load` lies in 0..1 and does not matter."""
    draw = np.random.default_rng(11)
    speed = draw.uniform(-2, 2, rows).astype(np.float32)
    load = draw.uniform(0, 1, rows).astype(np.float32)
    label = (draw.random(rows) < 1 / (1 + np.exp(-2 * speed))).astype(np.int64)
    times = [START - timedelta(minutes=3 * (rows - number)) for number in range(rows)]
    pq.write_table(pa.table({"speed": speed, "load": load, "label": label, "event_time": times}), file)
    return file


def _spec() -> model_pb2.ModelSpec:
    made = spec(min_paired_rows=300, min_exposure=20, max_step_s=6 * 3600)
    made.monitor.CopyFrom(model_pb2.MonitorPolicy(window_s=6 * 3600, min_window_rows=200, lateness_s=3600))
    made.retrain.CopyFrom(
        model_pb2.RetrainPolicy(
            on=["performance", "data"],
            cooldown_s=86_400,
            min_rows=1000,
            pipeline="tabular",
            dataset="changing-before",
            holdout_share=0.1,
        )
    )
    made.rollout.gates.add(number="calibration.ece", at_most=0.3)
    return made


class Backend:
    """Asks and tells in event time. From `changed_at` on `load` grows by 1 in 20 days; above 1 `speed` is reversed.

    Slowly, for a leap would be called what it looks like: a broken feed, on whose rows nothing is trained.
    """

    def __init__(self, client: AsyncClient, changed_at: datetime) -> None:
        self._client = client
        self._changed_at = changed_at
        self._random = random.Random(3)
        self.now = START

    async def send(self) -> None:
        """One request and its outcomes."""
        self.now += STEP
        now, shift = self.now, min(1.0, max(0.0, (self.now - self._changed_at) / timedelta(days=20)))
        speeds = [self._random.uniform(-2, 2) for _ in range(ROWS)]
        loads = [self._random.uniform(0, 1) + shift for _ in range(ROWS)]
        answer = await self._client.inference.predict(MODEL, {"speed": speeds, "load": loads}, event_time=now)
        seen = now + timedelta(minutes=1)
        slopes = [-2.0 if load > 1 else 2.0 for load in loads]
        labels = [float(self._random.random() < chance(*row)) for row in zip(speeds, slopes, strict=True)]
        told = [Outcome(MODEL, label, seen, prediction_id=answer.row_id(row)) for row, label in enumerate(labels)]
        await self._client.outcomes.record(told)


async def _first_version(client: AsyncClient, folder: Path) -> None:
    await client.models.create(MODEL, _spec())
    await client.datasets.import_file("changing-before", _labelled(folder / "before.parquet"))
    started = await client.runs.start(MODEL, reason="the first version", hold=True)
    last = [run async for run in client.runs.watch(started.run.id)][-1]
    assert last.run.status == "succeeded", last.run.error
    await client.rollouts.promote(MODEL, last.run.version, reason="the first version")
    await eventually(lambda: client.inference.ready(MODEL), "version 1 answers")


async def test_a_changed_world_brings_a_new_champion_and_the_chain_behind_it(tmp_path: Path) -> None:
    async with a_system({"GYROSTAT_OTEL__SAMPLE_RATIO": "0.01"}) as system, client_of(system) as client:
        await _first_version(client, tmp_path)
        backend = Backend(client, START + timedelta(days=2))

        async def promoted() -> bool:
            await asyncio.gather(*(backend.send() for _ in range(4)))
            return (await client.plans.get(MODEL)).champion.number > 1

        await eventually(promoted, "a second version is champion", within_s=200)

        async def said() -> list[TailedEvent]:
            return [event for event in await _events(client, "model.promoted") if event.payload.version_after > 1]

        [event] = await eventually(said, "the promotion is on the log")
        assert event.payload.change == events_pb2.CHANGE_PROMOTED
        await _walk_back(client, event)
        # The first version was trained and promoted by hand; the rest is nobody's doing but Gyrostat's.
        by_hand = [entry.action for entry in await client.audit.list(MODEL, actor="test")]
        assert {"StartTraining", "Promote"} <= set(by_hand) <= {*BY_HAND}
        assert max(by_hand.count(action) for action in BY_HAND) == 1


async def _events(client: AsyncClient, topic: str) -> list[TailedEvent]:
    return [event async for event in client.events.tail([topic], model=MODEL, from_beginning=True, follow=False)]


async def _walk_back(client: AsyncClient, promoted: TailedEvent) -> None:
    """From the promotion over verdict, training and episode to predictions that lie in the archive."""
    judged = {event.id: event for event in await _events(client, "canary.judged")}
    assert judged[promoted.causation_id].payload.verdict == events_pb2.VERDICT_ADVANCE
    drift = {event.id: event for event in await _events(client, "drift.detected")}
    [trained] = [
        event
        for event in await _events(client, "training.finished")
        if event.payload.candidate_version == promoted.payload.version_after
    ]
    episode = drift[trained.causation_id].payload
    assert episode.state == events_pb2.EPISODE_STATE_CONFIRMED
    assert promoted.correlation_id == trained.correlation_id == episode.episode_id
    assert episode.exemplars
    assert await archived(client, MODEL, episode.exemplars[0])
    told = await client.versions.lineage(f"{MODEL}:{promoted.payload.version_after}")
    assert {"version", "run", "snapshot", "episode", "rollout", "promotion"} <= {node.kind for node in told.nodes}
    assert not told.missing
    explained = await explain(client, f"{MODEL}:{promoted.payload.version_after}")
    [cause] = [link for link in _links(explained) if link.id == episode.episode_id]
    # What caused the training lies before it: later windows of the same episode have later predictions.
    assert cause.links
    assert {link.id for link in cause.links} <= set(episode.exemplars)
    assert all(link.at <= episode.watermark.ToDatetime(UTC) for link in cause.links if link.at)
    [node] = [node for node in told.nodes if node.id == episode.episode_id]
    assert episode.exemplars[0] in node.text


def _links(root: Link) -> Iterator[Link]:
    yield root
    for link in root.links:
        yield from _links(link)
