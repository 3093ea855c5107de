"""The monitor as a service: on a real Kafka and in memory, through its own RPCs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.monitor.v1 import monitor_pb2 as api
from gyrostat.monitor.v1.monitor_pb2_grpc import MonitorServiceStub
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_common import bus, rpc
from gyrostat_common.bus import codec
from gyrostat_common.profile import build_profile
from gyrostat_common.settings import KafkaSettings
from gyrostat_monitor.app import App, opened
from gyrostat_monitor.settings import Settings
from support.frames import a_frame, a_plan, an_outcome, planned, prediction_id, said, stamp
from support.monitor import DAY_US, HOUR_US, put_profile
from support.waiting import becomes

T0 = 1_362_096_000_000_000
PER_HOUR = 20
SPEC = models.ModelSpec(
    task=models.TASK_BINARY, score_output="probabilities", owner="ops@example.org",
    monitor=models.MonitorPolicy(lateness_s=3600, window_s=86_400, min_window_rows=100),
    label=models.LabelPolicy(lag_s=3600, horizon_s=5 * 86_400),
    rollout=models.RolloutPolicy(min_paired_rows=100, alpha=0.05, loss_margin=0.02),
)  # fmt: skip


class World:
    """Six days of one input and one score; from the third day on the input has moved and the score is wrong."""

    def __init__(self) -> None:
        r = np.random.default_rng(4)
        n = PER_HOUR * 24 * 6
        self.at = T0 + np.arange(n) * HOUR_US // PER_HOUR
        late = self.at >= T0 + 2 * DAY_US
        self.x = (r.normal(0, 1, n) + np.where(late, 1.0, 0.0)).astype(np.float32)
        self.p = 1 / (1 + np.exp(-self.x))
        self.y = (r.random(n) < np.where(late, 1 - self.p, self.p)).astype(float)
        x = r.normal(0, 1, 5000).astype(np.float32)
        p = 1 / (1 + np.exp(-x))
        y = (r.random(5000) < p).astype(float)
        times = T0 - 10 * DAY_US + np.arange(5000) * 10 * DAY_US // 5000
        self.profile = build_profile(pa.table({"x": x}), p, y, times, {"x": 0.2}, "binary")

    def frames(self, start: int, stop: int, first: int) -> list[pb.PredictionLogged]:
        """An answer and a shadow frame per hour."""
        out = []
        for no, i in enumerate(range(start, stop, PER_HOUR)):
            part = slice(i, min(i + PER_HOUR, stop))
            ids = [prediction_id(k) for k in range(part.start, part.stop)]
            for role, version, sign in ((pb.ROLE_ANSWER, 1, 1.0), (pb.ROLE_SHADOW, 2, -1.0)):
                scores = self.p[part] if sign > 0 else 1 - self.p[part]
                out.append(
                    a_frame(
                        first + 2 * no + (version - 1),
                        ids,
                        self.at[part].tolist(),
                        scores,
                        {"x": self.x[part]},
                        version=version,
                        role=role,
                        variant="champion" if version == 1 else "shadow",
                        rollout_id="ro",
                        revision=1,
                    )
                )
        return out


WORLD = World()
N = len(WORLD.at)


@asynccontextmanager
async def running(folder: Path, log: bus.Bus) -> AsyncIterator[tuple[App, MonitorServiceStub]]:
    """The monitor and a stub that asks it."""
    settings = Settings(
        data={"folder": folder}, grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", archive_interval_s=0.05,
        observe_interval_s=0.01, watch_interval_s=0.2,
    )  # type: ignore[arg-type]  # fmt: skip
    async with opened(settings, log) as app, rpc.connect(f"127.0.0.1:{app.port}") as channel:
        yield app, MonitorServiceStub(channel)


async def a_served_plan(folder: Path, producer: bus.Producer) -> None:
    """Champion 1, candidate 2 in the shadow of a roll-out."""
    sha = await put_profile(folder, WORLD.profile)
    plan = a_plan(
        1, 1, sha, spec=SPEC, rollout_id="ro", judge_version=2, judge_baseline=1, phase=pb.ROLLOUT_PHASE_SHADOW,
        rollout_started_at=stamp(T0), step_started_at=stamp(T0),
    )  # fmt: skip
    plan.shadows.add().version.CopyFrom(planned(2, sha))
    await producer.send(said(plan, key="production/flights"))


async def record(stub: MonitorServiceStub, start: int, stop: int) -> None:
    """Outcomes two hours after their predictions."""
    outcomes = [
        api.Outcome(
            model="flights", prediction=an_outcome(prediction_id(i), 0, 0).prediction, value=WORLD.y[i],
            observed_at=stamp(int(WORLD.at[i]) + 2 * HOUR_US),
        )
        for i in range(start, stop)
    ]  # fmt: skip
    for i in range(0, len(outcomes), 1000):
        request = api.RecordOutcomesRequest(request_id=f"{start}-{i}", outcomes=outcomes[i : i + 1000])
        first = await stub.RecordOutcomes(request)
        assert await stub.RecordOutcomes(request) == first  # the stored reply: one effect


async def status(stub: MonitorServiceStub) -> api.ModelStatus:
    found = (await stub.GetMonitorStatus(api.GetMonitorStatusRequest(model="flights"))).models
    return found[0]


def archived(folder: Path, kind: str) -> int:
    """Rows of predictions; events of outcomes, for one that was sent again after a lost ack is archived again."""
    column = {"predictions": "prediction_id", "outcomes": "event_id"}[kind]
    try:
        found = DeltaTable(str(folder / "archive" / kind / "flights")).to_pyarrow_table(columns=[column])[column]
    except TableNotFoundError:
        return 0
    return len(found) if kind == "predictions" else len(found.unique())


async def drive(folder: Path, log: bus.Bus) -> list[api.Episode]:
    """Half of the rows, a restart, the same frames at new offsets, the rest; returns the episodes."""
    half = N // 2
    async with log.producer() as producer:
        await a_served_plan(folder, producer)
        async with running(folder, log) as (_, stub):
            for i, frame in enumerate(WORLD.frames(0, half, 1)):
                await producer.send(said(frame, partition=i % 1))
            await record(stub, 0, half)
            await becomes(lambda: archived(folder, "predictions"), 2 * half)
        for frame in WORLD.frames(0, half, 1)[-6:]:
            await producer.send(said(frame, partition=0))
        async with running(folder, log) as (_, stub):
            for frame in WORLD.frames(half, N, 1 + 2 * (half // PER_HOUR)):
                await producer.send(said(frame, partition=0))
            await record(stub, half, N)

            async def taken_in() -> tuple[int, int, int]:
                """Rows, outcomes, and those of them that found their prediction."""
                s = await status(stub)
                return s.archived_rows["1/answer"], s.outcomes_received - s.outcomes_duplicate, s.outcomes_joined

            await becomes(taken_in, (N, N, N))
            await becomes(lambda: (archived(folder, "predictions"), archived(folder, "outcomes")), (2 * N, N))
            # The last outcomes move event time on once more.
            found = await status(stub)
            assert found.duplicate_frames >= 6
            assert found.archived_rows["2/shadow"] == N
            assert found.state == "drifting"
            await ask(stub)
            return list((await stub.ListEpisodes(api.ListEpisodesRequest(model="flights"))).episodes)


async def ask(stub: MonitorServiceStub) -> None:
    """Every query answers."""
    windows = (await stub.ListWindows(api.ListWindowsRequest(model="flights", page_size=2))).windows
    assert [w.window.start.seconds for w in windows] == [T0 // 1_000_000, T0 // 1_000_000 + 86_400]
    assert windows[0].quality["log_loss"] < 0.7
    assert {s.scalar for s in windows[0].statistics} == {"x", "score"}
    rows = (await stub.GetQuality(api.GetQualityRequest(model="flights", by="day", live=True))).rows
    assert {(r.version, r.role) for r in rows} == {(0, pb.ROLE_ANSWER), (1, pb.ROLE_ANSWER), (2, pb.ROLE_SHADOW)}
    assert sum(r.outcomes for r in rows if r.version == 0) == N
    judged = (await stub.ListJudgements(api.ListJudgementsRequest(model="flights", rollout_id="ro"))).judgements
    assert judged
    prediction = await stub.GetPrediction(api.GetPredictionRequest(id=str(prediction_id(30))))
    assert [a.version for a in prediction.answers] == [1, 2]
    assert prediction.outcomes[0].winner
    assert "x" in prediction.answers[0].inputs_json
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.GetPrediction(api.GetPredictionRequest(id=str(prediction_id(10**6))))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await stub.RecordOutcomes(api.RecordOutcomesRequest(outcomes=[api.Outcome(model="flights", value=7)]))
    assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as token:
        await stub.ListEpisodes(api.ListEpisodesRequest(page_token="x"))
    assert token.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def kinds(episodes: list[api.Episode]) -> set[tuple[int, str]]:
    return {(e.latest.kind, str(e.latest.episode_id)) for e in episodes}


@pytest.mark.timeout(240)
async def test_in_memory_and_on_kafka_the_story_is_the_same(tmp_path: Path, fresh_kafka: KafkaSettings) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "kafka").mkdir()
    memory = bus.MemoryBus()
    told = await drive(tmp_path / "memory", memory)
    assert {k for k, _ in kinds(told)} >= {pb.DRIFT_KIND_DATA, pb.DRIFT_KIND_PERFORMANCE, pb.DRIFT_KIND_PREDICTION}
    for episode in told:
        for step in episode.transitions:
            assert (step.told.state, step.told.watermark) == (step.state, step.watermark)
            assert step.told.summary.endswith(step.summary)
    assert len({tuple(step.told.exemplars) for episode in told for step in episode.transitions}) > len(told)
    events = memory.events(pb.DriftDetected)
    confirmed = next(e for e in events if e.payload.state == pb.EPISODE_STATE_CONFIRMED)
    started = next(e for e in events if e.payload.episode_id == confirmed.payload.episode_id)
    assert started.payload.state == pb.EPISODE_STATE_OPENED
    assert confirmed.causation_id == started.id
    assert confirmed.correlation_id == confirmed.payload.episode_id
    assert confirmed.payload.exemplars
    assert confirmed.subject == "flights:1"
    assert memory.events(pb.CanaryJudged)[-1].payload.rollout_id == "ro"
    await bus.topics.apply(fresh_kafka)
    async with bus.open(fresh_kafka) as log:
        assert kinds(await drive(tmp_path / "kafka", log)) == kinds(told)


async def test_poison_goes_to_the_dead_letters_and_the_rest_is_taken_in(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with log.producer() as producer, running(tmp_path, log) as (_, stub):
        await a_served_plan(tmp_path, producer)
        good, bad = WORLD.frames(0, 20, 1)[0], pb.PredictionLogged()
        bad.CopyFrom(WORLD.frames(20, 40, 3)[0])
        bad.prediction_ids = b"short"
        await log.append(
            codec.Outgoing(topic="prediction.logged", key=None, value=b"\xff\xff", headers=(), partition=0)  # type: ignore[call-arg]
        )
        await producer.send(said(bad, partition=0))
        await producer.send(said(good, partition=0))
        await producer.send(said(pb.OutcomeRecorded(model="flights", value=1)))
        await log.settled()
        assert (await status(stub)).archived_rows["1/answer"] == 20
        assert len(log.records("monitor.dlq")) == 3
        assert len(log.records("monitor.archive.dlq")) >= 2


async def test_a_profile_that_is_missing_leaves_rows_and_quality_but_no_tests(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with log.producer() as producer, running(tmp_path, log) as (_, stub):
        await producer.send(said(a_plan(1, 1, "0" * 64, spec=SPEC), key="production/flights"))
        for frame in WORLD.frames(0, 200, 1):
            if frame.version == 1:
                await producer.send(said(frame, partition=0))
        await log.settled()
        found = await status(stub)
        assert found.state == "no profile"
        assert found.archived_rows["1/answer"] == 200
        assert (await stub.ListEpisodes(api.ListEpisodesRequest(model="flights"))).episodes == []


async def test_the_last_outcome_of_a_quiet_model_reaches_the_archive_by_its_request_id(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with log.producer() as producer, running(tmp_path, log) as (_, stub):
        await a_served_plan(tmp_path, producer)
        await producer.send(said(a_frame(1, [prediction_id(0)], [T0], [0.8], request_ids=["r-1"]), partition=0))
        ref = pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id="r-1"))
        outcome = api.Outcome(model="flights", prediction=ref, value=1, observed_at=stamp(T0 + HOUR_US))
        await stub.RecordOutcomes(api.RecordOutcomesRequest(outcomes=[outcome]))
        question = api.GetPredictionRequest(id=str(prediction_id(0)), model="flights")

        async def outcomes() -> int:
            try:
                return len((await stub.GetPrediction(question)).outcomes)
            except grpc.aio.AioRpcError:
                return 0

        await becomes(outcomes, 1)


async def test_an_outcome_whose_ack_was_lost_is_archived_again_and_told_once(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with log.producer() as producer, running(tmp_path, log) as (_, stub):
        await a_served_plan(tmp_path, producer)
        await producer.send(said(a_frame(1, [prediction_id(0)], [T0], [0.8]), partition=0))
        event = said(an_outcome(prediction_id(0), 1, T0 + HOUR_US))
        for _ in range(2):
            await producer.send(event)
            await log.settled()
        found = await status(stub)
        assert (found.outcomes_received, found.outcomes_duplicate, found.outcomes_joined) == (2, 1, 1)
        told = await stub.GetPrediction(api.GetPredictionRequest(id=str(prediction_id(0))))
        assert [outcome.winner for outcome in told.outcomes] == [True]


async def test_an_id_that_is_asked_again_is_archived_twice_and_counted_once(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with log.producer() as producer, running(tmp_path, log) as (_, stub):
        await a_served_plan(tmp_path, producer)
        ids = [prediction_id(i) for i in range(3)]
        await producer.send(said(a_frame(1, ids, [T0, T0, T0], [0.8] * 3), partition=0))
        await producer.send(said(a_frame(2, ids[:1], [T0 + 9], [0.6]), partition=0))
        await becomes(lambda: archived(tmp_path, "predictions"), 4)
        await log.settled()
        found = await status(stub)
        assert (found.archived_rows["1/answer"], found.repeated_rows) == (4, 1)
        rows = (await stub.GetQuality(api.GetQualityRequest(model="flights"))).rows
        assert [(r.version, r.predictions) for r in rows] == [(1, 3)]
        told = (await stub.GetPrediction(api.GetPredictionRequest(id=str(ids[0])))).answers
        assert [(a.frame_no, a.repeated) for a in told] == [(1, False), (2, True)]
