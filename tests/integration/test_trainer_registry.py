"""Trainer and registry together on one log: the candidate's numbers are judged, and its roll-out begins."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow.parquet as pq

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1.registry_pb2_grpc import RegistryServiceStub
from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.bus import MemoryBus
from gyrostat_registry.app import opened
from gyrostat_registry.settings import Settings as RegistrySettings
from gyrostat_trainer.engine.datasets import Datasets
from support.trainer import MODEL, a_spec, an_episode, labelled_rows, running_trainer, say, write_archive
from support.waiting import becomes, eventually


def registry_settings(folder: Path) -> RegistrySettings:
    return RegistrySettings.load(
        {
            "GYROSTAT_DATA__FOLDER": str(folder),
            "GYROSTAT_REGISTRY__GRPC_ADDRESS": "127.0.0.1:0",
            "GYROSTAT_REGISTRY__METRICS_ADDRESS": "127.0.0.1:0",
        }
    )


async def ended(stub: trainer_pb2_grpc.TrainerServiceStub, run_id: str) -> trainer_pb2.TrainingRun:
    async for reply in stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run_id), timeout=100):
        last = reply.run
    return last


async def a_first_champion(
    registry: RegistryServiceStub, trainer: trainer_pb2_grpc.TrainerServiceStub
) -> trainer_pb2.TrainingRun:
    """Trained by hand; goes live at once."""
    started = await trainer.StartTraining(trainer_pb2.StartTrainingRequest(request_id="first", model=MODEL))
    first = await ended(trainer, started.run.run.id)
    assert first.run.status == "succeeded", first.run.error
    plan = (await registry.GetPlan(pb.GetPlanRequest(model=MODEL))).plan
    assert plan.champion.number == first.run.version == 1
    return first


async def test_an_episode_becomes_a_judged_version_whose_roll_out_begins(tmp_path: Path) -> None:
    bus = MemoryBus()
    pq.write_table(labelled_rows(40), tmp_path / "history.parquet")
    Datasets(str(tmp_path / "datasets")).write("history", tmp_path / "history.parquet", "", False, "")
    async with (
        opened(registry_settings(tmp_path), bus) as registry_app,
        rpc.connect(f"127.0.0.1:{registry_app.port}", actor="ann") as to_registry,
        running_trainer(tmp_path, bus, f"127.0.0.1:{registry_app.port}") as trainer_app,
        rpc.connect(f"127.0.0.1:{trainer_app.grpc_port}", actor="ann") as to_trainer,
    ):
        # After a turn of the world recent rows must count more, or the calibration gate refuses the candidate.
        spec = a_spec(parameters_json='{"num_boost_round": 40, "min_data_in_leaf": 20, "half_life_days": 5}')
        registry, trainer = RegistryServiceStub(to_registry), trainer_pb2_grpc.TrainerServiceStub(to_trainer)
        await registry.CreateModel(pb.CreateModelRequest(request_id=str(uuid.uuid4()), name=MODEL, spec=spec))
        first = await a_first_champion(registry, trainer)

        write_archive(tmp_path / "archive", labelled_rows(30, first_day=40, turned=True))
        await say(bus, an_episode("confirmed", 69.5), MODEL, "gyrostat-monitor", correlation_id="ep-1")

        async def started_by_itself() -> str:
            newest = (await trainer.ListRuns(trainer_pb2.ListRunsRequest(model=MODEL))).runs[0].run.id
            return newest if newest != first.run.id else ""

        second = await ended(trainer, await eventually(started_by_itself, "a second run"))
        assert second.run.status == "succeeded", second.run.error
        assert all(gate.passed for gate in second.gates)

        version = (await registry.GetModelVersion(pb.GetModelVersionRequest(model=MODEL, version="2"))).version
        assert (version.cause, version.correlation_id, version.stage) == ("ep-1", "ep-1", model_pb2.STAGE_SHADOW)
        assert [i.name for i in version.signature.inputs] == ["carrier", "hour", "wind"]
        rollouts = (await registry.ListRollouts(pb.ListRolloutsRequest(model=MODEL, open_only=True))).rollouts
        assert [r.version for r in rollouts] == [2]

        async def recorded() -> str:
            return (await registry.GetRun(pb.GetRunRequest(id=second.run.id))).run.snapshot.sha256

        # The registry hears of a run's end a moment after the trainer's own ledger.
        await becomes(recorded, second.run.snapshot.sha256)
        lineage = await registry.GetLineage(pb.GetLineageRequest(model=MODEL, version="2"))
        assert "ep-1" in {node.id for node in lineage.nodes}
