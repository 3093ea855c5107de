"""The trainer as a whole: cause in, version with evidence out. Real tables, real jobs, a registry that remembers."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.bus import Event, MemoryBus
from gyrostat_common.profile import Profile
from support.trainer import (
    MODEL,
    FakeRegistry,
    HesitantRegistry,
    a_spec,
    an_episode,
    labelled_rows,
    running_trainer,
    say,
    serving,
    write_archive,
)
from support.waiting import eventually


@dataclass
class World:
    """A trainer, its registry, its log, and a stub to call it."""

    folder: Path
    registry: FakeRegistry
    bus: MemoryBus
    stub: Any
    channel: grpc.aio.Channel

    async def import_history(self, table: pa.Table, request_id: str = "", **header: Any) -> trainer_pb2.Dataset:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        content = sink.getvalue()
        sha256 = header.pop("sha256", hashlib.sha256(content).hexdigest())

        async def parts() -> AsyncIterator[trainer_pb2.ImportDatasetRequest]:
            head = {"request_id": request_id, "dataset": "history", "sha256": sha256, **header}
            yield trainer_pb2.ImportDatasetRequest(header=trainer_pb2.ImportDatasetRequest.Header(**head))
            for at in range(0, len(content), 1 << 16):
                yield trainer_pb2.ImportDatasetRequest(chunk=content[at : at + (1 << 16)])

        return (await self.stub.ImportDataset(parts())).dataset

    async def start(self, **fields: Any) -> trainer_pb2.TrainingRun:
        fields = {"request_id": str(uuid.uuid4()), "model": MODEL, **fields}
        return (await self.stub.StartTraining(trainer_pb2.StartTrainingRequest(**fields))).run

    async def ended(self, run_id: str) -> trainer_pb2.TrainingRun:
        async for reply in self.stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run_id), timeout=100):
            last = reply.run
        return last

    async def first_champion(self) -> trainer_pb2.TrainingRun:
        await self.import_history(labelled_rows(40))
        run = await self.ended((await self.start(reason="first")).run.id)
        assert run.run.status == "succeeded", run.run.error
        await self.registry.promote(self.bus, run.run.version)
        return run

    async def runs(self) -> list[trainer_pb2.TrainingRun]:
        return list((await self.stub.ListRuns(trainer_pb2.ListRunsRequest(model=MODEL))).runs)

    async def decisions(self) -> list[trainer_pb2.Decision]:
        """Oldest first."""
        found = await self.stub.ListDecisions(trainer_pb2.ListDecisionsRequest(model=MODEL))
        return list(reversed(found.decisions))

    async def hear(self, episode: events_pb2.DriftDetected, **fields: Any) -> str:
        event_id = await say(self.bus, episode, MODEL, "gyrostat-monitor", **fields)
        await self.bus.settled()
        return event_id


@asynccontextmanager
async def a_world(folder: Path, registry: FakeRegistry, bus: MemoryBus, **more: str) -> AsyncIterator[World]:
    async with (
        serving(registry) as address,
        running_trainer(folder, bus, address, **more) as running,
        rpc.connect(f"127.0.0.1:{running.grpc_port}", actor="ann") as channel,
    ):
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)  # type: ignore[no-untyped-call]
        yield World(folder, registry, bus, stub, channel)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, FakeRegistry(a_spec()), MemoryBus()) as opened:
        yield opened


def numbers(run: trainer_pb2.TrainingRun) -> dict[str, float]:
    return {f"{gate.gate}.{name}": value for gate in run.gates for name, value in gate.numbers.items()}


async def test_a_first_version_is_trained_from_imported_rows_with_its_evidence(world: World) -> None:
    run = await world.first_champion()
    measured = numbers(run)
    assert measured["parity.max_difference"] <= 1e-5
    assert measured["parity.label_flips"] == 0
    assert measured["parity.rows"] >= 5_000
    assert measured["quality.auc"] > 0.65
    assert "quality.loss_delta_upper" not in measured
    assert {"calibration.ece", "size.bytes", "latency.p50_us", "robustness.nonfinite", "data.rows"} <= set(measured)
    record = run.run
    assert record.snapshot.rows == 8_000
    assert record.code_digest.startswith("sha256:")
    assert record.environment_digest.startswith("packages:")
    assert record.cost["cpu_s"] > 0
    assert record.cost["peak_bytes"] > 1e6
    assert record.created_by == "ann"
    registered = world.registry.versions[0]
    profile = Profile.from_json(world.registry.artifacts[registered.profile_sha256])
    assert profile.rows == 2_000
    assert profile.loss is not None
    await world.registry.told.wait()
    assert world.registry.runs[record.id].status == "succeeded"


async def test_the_snapshot_is_copied_and_its_digest_is_that_of_the_copy(world: World) -> None:
    run = await world.first_champion()
    snapshot = run.run.snapshot
    assert snapshot.copy.sha256 == snapshot.sha256
    with pa.memory_map(snapshot.copy.uri.removeprefix("file://")) as source:
        table = pa.ipc.open_stream(source).read_all()
    assert table.num_rows == snapshot.rows


async def test_a_confirmed_episode_causes_one_run_and_the_chain_holds(world: World) -> None:
    await world.first_champion()
    write_archive(world.folder / "archive", labelled_rows(30, first_day=40, turned=True))
    opened = await world.hear(an_episode("opened", 68), correlation_id="ep-1")
    event_id = await world.hear(an_episode("confirmed", 69.5), correlation_id="ep-1", causation_id=opened)
    await world.hear(an_episode("confirmed", 69.6), correlation_id="ep-1")
    newest = (await world.runs())[0]
    run = await world.ended(newest.run.id)
    assert run.run.status == "succeeded", run.run.error
    assert list(run.run.causes) == ["ep-1"]
    assert len(await world.runs()) == 2
    measured = numbers(run)
    assert measured["quality.loss_delta_upper"] < 0
    assert measured["latency.ratio"] > 0
    assert measured["slices.slices"] >= 4
    assert 0.85 < measured["data.label_coverage"] < 0.95
    registered = world.registry.versions[-1]
    assert (registered.cause, registered.correlation_id, registered.causation_id) == ("ep-1", "ep-1", event_id)
    assert registered.event_time.seconds == run.watermark.seconds
    assert dict(run.run.snapshot.frames) == {"s/delays/0": 1}

    def told() -> list[Event]:
        return [e for e in world.bus.events(events_pb2.TrainingFinished) if e.payload.run_id == run.run.id]

    await eventually(told, "the log hears of the run's end")
    [finished] = told()
    assert (finished.correlation_id, finished.causation_id) == ("ep-1", event_id)
    assert finished.payload.candidate_version == run.run.version


async def test_rows_after_the_label_lag_and_rows_of_broken_data_stay_out(world: World) -> None:
    await world.first_champion()
    write_archive(world.folder / "archive", labelled_rows(30, first_day=40, turned=True))
    await world.hear(an_episode("opened", 50, episode_id="dq", kind="data_quality", started=50))
    await world.hear(an_episode("confirmed", 51, episode_id="dq", kind="data_quality", started=50))
    await world.hear(an_episode("confirmed", 60))
    assert (await world.decisions())[-1].action == "wait"
    assert len(await world.runs()) == 1
    await world.hear(an_episode("resolved", 62, episode_id="dq", kind="data_quality", started=50))
    run = await world.ended((await world.runs())[0].run.id)
    snapshot = run.run.snapshot
    assert len(snapshot.excluded) == 1
    assert "dq" in snapshot.excluded[0]
    assert run.watermark.seconds - snapshot.event_time_to.seconds >= 3_600
    expected = 40 * 200 + (62 - 40 - 12) * 200 * 0.9
    assert abs(snapshot.rows - expected) < 200


async def test_a_cause_met_in_the_cool_down_is_acted_on_when_the_archive_has_moved_on(world: World) -> None:
    await world.first_champion()
    write_archive(world.folder / "archive", labelled_rows(10, first_day=40, turned=True))
    await world.hear(an_episode("confirmed", 45))
    decided = (await world.decisions())[-1]
    assert (decided.action, decided.cause) == ("wait", "ep-1")
    assert "cooling down" in decided.reason
    write_archive(world.folder / "archive", labelled_rows(10, first_day=50, turned=True), frame_no=2)

    async def caused() -> str:
        return next((r.run.id for r in await world.runs() if "ep-1" in r.run.causes), "")

    run_id = await eventually(caused, "a run for the episode")
    assert (await world.ended(run_id)).run.status == "succeeded"
    assert [d.action for d in await world.decisions()] == ["train", "wait", "train"]


async def test_a_kind_the_model_does_not_act_on_is_explained_and_ignored(world: World) -> None:
    await world.first_champion()
    await world.hear(an_episode("confirmed", 60, kind="data"))
    decided = (await world.decisions())[-1]
    assert decided.action == "ignore"
    assert "data episodes do not cause a training" in decided.reason
    assert len(await world.runs()) == 1


async def test_the_same_request_id_starts_one_run(world: World) -> None:
    await world.import_history(labelled_rows(40))
    first = await world.start(request_id="r-1")
    again = await world.start(request_id="r-1")
    assert first.run.id == again.run.id
    assert len(await world.runs()) == 1
    await world.ended(first.run.id)


async def test_a_registry_that_is_away_delays_a_run_and_does_not_lose_it(world: World) -> None:
    await world.import_history(labelled_rows(40))
    started = await world.start()
    world.registry.away = True
    async for reply in world.stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=started.run.id), timeout=100):
        if "waiting" in reply.run.progress.text:
            world.registry.away = False
        last = reply.run
    assert last.run.status == "succeeded"
    assert len(world.registry.versions) == 1


async def test_a_refused_candidate_is_a_rejected_run_with_the_reason(world: World) -> None:
    world.registry.at_most = {"calibration.ece": -1.0}
    await world.import_history(labelled_rows(40))
    run = await world.ended((await world.start()).run.id)
    assert run.run.status == "rejected"
    assert run.run.error == "calibration: ece too large"
    assert run.run.version == 1


async def test_a_cancelled_run_ends_and_leaves_no_process(world: World) -> None:
    await world.import_history(labelled_rows(40))
    started = await world.start(parameters_json='{"num_boost_round": 5000, "num_leaves": 255, "min_data_in_leaf": 1}')
    async for reply in world.stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=started.run.id), timeout=100):
        if reply.run.progress.text.startswith("tree"):
            await world.stub.CancelTraining(trainer_pb2.CancelTrainingRequest(run_id=started.run.id, reason="enough"))
        last = reply.run
    assert last.run.status == "cancelled"
    assert "cancelled by ann: enough" in last.run.error
    assert not list((world.folder / "trainer" / "runs").rglob("*.pid"))


async def test_a_cancelled_run_that_fails_before_it_notices_is_cancelled_all_the_same(tmp_path: Path) -> None:
    registry = HesitantRegistry(a_spec())
    async with a_world(tmp_path, registry, MemoryBus()) as world:
        started = await world.start()  # there are no rows: its snapshot fails
        await registry.asked.wait()
        await world.stub.CancelTraining(trainer_pb2.CancelTrainingRequest(run_id=started.run.id, reason="enough"))
        registry.may_tell.set()
        run = (await world.ended(started.run.id)).run
    assert (run.status, run.error) == ("cancelled", "cancelled by ann: enough")


async def test_a_broken_parameter_fails_the_run_with_the_jobs_own_words(world: World) -> None:
    await world.import_history(labelled_rows(40))
    run = await world.ended((await world.start(parameters_json='{"leaves": 3}')).run.id)
    assert run.run.status == "failed"
    assert "parameter leaves" in run.run.error


async def test_an_import_is_checked_counted_and_repeatable(world: World) -> None:
    table = labelled_rows(10)
    made = await world.import_history(table, request_id="i-1")
    assert (made.rows, made.delta_version) == (2_000, 0)
    assert await world.import_history(table, request_id="i-1") == made
    more = await world.import_history(labelled_rows(5, first_day=10), request_id="i-2", append=True)
    assert (more.rows, more.delta_version) == (3_000, 1)
    listed = (await world.stub.ListDatasets(trainer_pb2.ListDatasetsRequest())).datasets
    assert [d.rows for d in listed] == [3_000]
    await world.bus.settled()


@pytest.mark.parametrize(
    ("table", "header", "words"),
    [
        (labelled_rows(2), {"sha256": "0" * 64}, "SHA-256"),
        (labelled_rows(2), {"dataset": "../etc"}, "is not a name"),
        (labelled_rows(2).drop_columns(["label"]), {}, "no column 'label'"),
        (labelled_rows(2).slice(0, 0), {}, "no rows"),
    ],
)
async def test_a_bad_import_is_refused_in_words(world: World, table: pa.Table, header: Any, words: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.import_history(table, **header)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in (refused.value.details() or "")


async def test_an_unknown_model_run_and_pipeline_are_refused(world: World) -> None:
    for call, code in (
        (world.start(model="nobody"), grpc.StatusCode.NOT_FOUND),
        (world.stub.GetRun(trainer_pb2.GetRunRequest(run_id="nope")), grpc.StatusCode.NOT_FOUND),
        (world.start(parameters_json="[1]"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is code
    world.registry.spec.retrain.pipeline = "missing"
    with pytest.raises(grpc.aio.AioRpcError, match="no pipeline 'missing'"):
        await world.start()


OWN_PIPELINE = """
import os, onnx
from onnx import TensorProto as T, helper as h
inputs = [h.make_tensor_value_info("wind", T.FLOAT, ["n", 1])]
outputs = [h.make_tensor_value_info("chance", T.FLOAT, ["n", 1])]
graph = h.make_graph([h.make_node("Sigmoid", ["filled"], ["chance"])], "g", inputs, outputs, [
    h.make_tensor("zero", T.FLOAT, [], [0.0])])
graph.node.insert(0, h.make_node("Max", ["wind", "zero"], ["filled"]))
graph.node.insert(0, h.make_node("IsNaN", ["wind"], ["missing"]))
graph.node.insert(1, h.make_node("Where", ["missing", "zero", "wind"], ["known"]))
graph.node[2].input[0] = "known"
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10)
onnx.save(model, os.path.join(os.environ["GYROSTAT_OUTPUT"], "model.onnx"))
"""


async def test_anybodys_command_is_a_pipeline_and_owes_nothing_but_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    await asyncio.to_thread((folder / "train.py").write_text, OWN_PIPELINE)
    mine = {"mine": {"command": [sys.executable, "train.py"], "folder": str(folder)}}
    registry = FakeRegistry(a_spec(pipeline="mine", parameters_json=""))
    registry.spec.score_output = "chance"
    more = {"GYROSTAT_TRAINER__PIPELINES": json.dumps(mine)}
    async with a_world(tmp_path, registry, MemoryBus(), **more) as world:
        await world.import_history(labelled_rows(40))
        run = await world.ended((await world.start()).run.id)
    assert run.run.status == "succeeded", run.run.error
    parity = next(gate for gate in registry.versions[0].gates if gate.gate == "parity")
    assert dict(parity.numbers) == {"rows": 0}
    # The registry refuses what has shown no parity, and says this.
    assert "no parity.parquet" in parity.reason
    assert not parity.not_measured
    assert numbers(run)["quality.loss"] > 0
    assert run.run.code_digest.startswith("sha256:")
    profile = Profile.from_json(registry.artifacts[registry.versions[0].profile_sha256])
    assert [feature.name for feature in profile.features] == ["wind"]


async def test_a_closing_trainer_ends_its_watchers_instead_of_waiting_for_them(tmp_path: Path) -> None:
    registry = FakeRegistry(a_spec())
    async with serving(registry) as address, AsyncExitStack() as trainer:
        running = await trainer.enter_async_context(running_trainer(tmp_path, MemoryBus(), address))
        async with rpc.connect(f"127.0.0.1:{running.grpc_port}") as channel:
            stub = trainer_pb2_grpc.TrainerServiceStub(channel)
            started = await stub.StartTraining(trainer_pb2.StartTrainingRequest(request_id="r", model=MODEL))
            registry.away = True
            watch = stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=started.run.run.id))
            await watch.read()
            await trainer.aclose()
            with pytest.raises(grpc.aio.AioRpcError, match="the trainer is closing"):
                async for _ in watch:
                    pass


async def test_a_restarted_trainer_goes_on_where_it_was(tmp_path: Path) -> None:
    registry, bus = FakeRegistry(a_spec()), MemoryBus()
    async with a_world(tmp_path, registry, bus) as world:
        await world.import_history(labelled_rows(40))
        started = await world.start()
        async for reply in world.stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=started.run.id), timeout=100):
            if reply.run.progress.stage == "fit":
                break
    assert not registry.versions
    created = registry.calls.count("CreateRun")
    async with a_world(tmp_path, registry, bus) as world:
        run = await world.ended(started.run.id)
    assert run.run.status == "succeeded", run.run.error
    assert registry.calls.count("CreateRun") == created == 1
    assert len(registry.versions) == 1
