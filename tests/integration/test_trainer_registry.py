"""Trainer and registry together on one log: the candidate's numbers are judged, and its roll-out begins."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
from onnx import TensorProto, helper

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1.registry_pb2_grpc import RegistryServiceStub
from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import rpc
from gyrostat_common.bus import MemoryBus
from gyrostat_registry.app import opened
from gyrostat_registry.settings import Settings as RegistrySettings
from gyrostat_trainer.engine.datasets import Datasets
from support.registry import onnx_bytes
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
        told = await registry.GetLineage(pb.GetLineageRequest(model=MODEL, version="2"))
        assert "ep-1" in {node.id for node in told.nodes}
        assert await who_started(registry, second.run.id) == ["gyrostat-trainer"]


def handmade() -> bytes:
    """A champion that no pipeline made: INT64, FP64, BYTES [-1], a list that it does not need; FP64 [-1] out."""
    value, kind = helper.make_tensor_value_info, TensorProto
    inputs = [
        value("hour", kind.INT64, ["n"]),
        value("wind", kind.DOUBLE, ["n"]),
        value("carrier", kind.STRING, ["n"]),
        value("embedding", kind.FLOAT, ["n", 4]),
    ]
    nodes = [helper.make_node("Cast", ["hour"], ["h"], to=kind.DOUBLE), helper.make_node("Mul", ["h", "w"], ["risk"])]
    weight = helper.make_tensor("w", kind.DOUBLE, [1], [0.02])
    graph = helper.make_graph(nodes, "byhand", inputs, [value("risk", kind.DOUBLE, ["n"])], initializer=[weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


async def audited(registry: RegistryServiceStub) -> list[tuple[str, str, str, str]]:
    """(actor, action, subject, reason), oldest first."""
    found = (await registry.ListAudit(pb.ListAuditRequest(page_size=1000))).entries
    return [(one.actor, one.action, one.subject, one.reason) for one in reversed(found)]


async def who_started(registry: RegistryServiceStub, run_id: str) -> list[str]:
    return [actor for actor, *call, _ in await audited(registry) if call == ["StartTraining", run_id]]


async def uploaded(registry: RegistryServiceStub, content: bytes) -> str:
    async def parts() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(header=pb.UploadArtifactRequest.Header(name="model.onnx"))
        yield pb.UploadArtifactRequest(chunk=content)

    return str((await registry.UploadArtifact(parts())).artifact.sha256)


async def imported(trainer: trainer_pb2_grpc.TrainerServiceStub, content: bytes) -> None:
    async def parts() -> AsyncIterator[trainer_pb2.ImportDatasetRequest]:
        head = {"request_id": "history", "dataset": "history", "sha256": hashlib.sha256(content).hexdigest()}
        yield trainer_pb2.ImportDatasetRequest(header=trainer_pb2.ImportDatasetRequest.Header(**head))
        yield trainer_pb2.ImportDatasetRequest(chunk=content)

    await trainer.ImportDataset(parts())


@asynccontextmanager
async def together(
    folder: Path, spec: model_pb2.ModelSpec
) -> AsyncIterator[tuple[RegistryServiceStub, trainer_pb2_grpc.TrainerServiceStub]]:
    """A registry that ann calls, a trainer that ben calls and that has history to learn from, and the model."""
    bus, sink = MemoryBus(), io.BytesIO()
    pq.write_table(labelled_rows(40), sink)
    async with (
        opened(registry_settings(folder), bus) as registry_app,
        rpc.connect(f"127.0.0.1:{registry_app.port}", actor="ann") as to_registry,
        running_trainer(folder, bus, f"127.0.0.1:{registry_app.port}") as trainer_app,
        rpc.connect(f"127.0.0.1:{trainer_app.grpc_port}", actor="ben") as to_trainer,
    ):
        registry, trainer = RegistryServiceStub(to_registry), trainer_pb2_grpc.TrainerServiceStub(to_trainer)
        await registry.CreateModel(pb.CreateModelRequest(request_id="model", name=MODEL, spec=spec))
        await imported(trainer, sink.getvalue())
        yield registry, trainer


async def a_champion_by_hand(registry: RegistryServiceStub) -> None:
    sha256 = await uploaded(registry, handmade())
    made = pb.CreateModelVersionRequest(request_id="byhand", model=MODEL, artifact_sha256=sha256)
    await registry.CreateModelVersion(made)
    await registry.Promote(pb.PromoteRequest(request_id="live", model=MODEL, number=1, reason="first"))


async def graph_of(registry: RegistryServiceStub, number: str) -> bytes:
    version = (await registry.GetModelVersion(pb.GetModelVersionRequest(model=MODEL, version=number))).version
    parts = registry.DownloadArtifact(pb.DownloadArtifactRequest(sha256=version.artifact.sha256))
    return b"".join([part.chunk async for part in parts])


async def test_a_candidate_answers_the_tensors_of_a_champion_made_by_hand(tmp_path: Path) -> None:
    spec = a_spec()
    spec.score_output = "risk"
    async with together(tmp_path, spec) as (registry, trainer):
        await a_champion_by_hand(registry)
        asked = trainer_pb2.StartTrainingRequest(request_id="one", model=MODEL, reason="better than by hand")
        run = await ended(trainer, (await trainer.StartTraining(asked)).run.run.id)
        assert run.run.version == 2, run.run.error
        gates = {gate.gate: gate for gate in run.gates}
        assert "signature" not in gates
        assert gates["parity"].passed
        assert gates["quality"].numbers["champion_loss"] > gates["quality"].numbers["loss"]
        assert gates["data"].numbers["unknown_inputs"] == 1
        assert "taken and not learned from, for no row has it: embedding" in gates["data"].reason

        tensors = {
            "hour": np.array([6, 22, 14]),
            "wind": np.array([3.0, np.nan, 20.0]),
            "carrier": np.array(["AA", "B6", "never seen"], dtype=object),
            "embedding": np.zeros((3, 4), np.float32),
        }
        graphs = handmade(), await graph_of(registry, "2")
        by_hand, candidate = (ort.InferenceSession(graph).run(["risk"], tensors)[0] for graph in graphs)
        assert (candidate.shape, candidate.dtype) == (by_hand.shape, by_hand.dtype) == ((3,), np.float64)

        async def lines() -> set[tuple[str, str, str, str]]:
            found = await audited(registry)
            return {line for line in found if line[1] in ("StartTraining", "CreateRun", "ImportDataset")}

        wanted = {
            ("ben", "ImportDataset", "history", ""),
            ("ben", "StartTraining", run.run.id, "better than by hand"),
            ("gyrostat-trainer", "CreateRun", run.run.id, ""),
        }
        await becomes(lines, wanted)


async def test_a_candidate_with_other_tensors_is_refused_and_promoted_by_force_only(tmp_path: Path) -> None:
    spec = a_spec()
    spec.score_output = ""
    async with together(tmp_path, spec) as (registry, _):
        await a_champion_by_hand(registry)
        run = (await registry.CreateRun(pb.CreateRunRequest(request_id="r", run=model_pb2.Run(model=MODEL)))).run
        other = await uploaded(registry, onnx_bytes(inputs=("hour", "wind", "carrier", "embedding"), out="risk"))
        made = pb.CreateModelVersionRequest(request_id="x", model=MODEL, artifact_sha256=other, run_id=run.id)
        rejected = (await registry.CreateModelVersion(made)).version
        assert rejected.stage == model_pb2.STAGE_REJECTED
        assert "input 'hour' INT64 [-1] of the champion is FP32 [-1, 1] here" in rejected.stage_reason
        forced = pb.PromoteRequest(request_id="f", model=MODEL, number=2, force=True, reason="callers are ready")
        assert (await registry.Promote(forced)).plan.champion.number == 2


async def test_a_training_that_was_cancelled_before_it_began_is_in_the_audit_log_once(tmp_path: Path) -> None:
    async with together(tmp_path, a_spec()) as (registry, trainer):
        slow = trainer_pb2.StartTrainingRequest(
            request_id="slow", model=MODEL, reason="first", parameters_json='{"num_boost_round": 5000}'
        )
        under_way = (await trainer.StartTraining(slow)).run.run.id
        queued = trainer_pb2.StartTrainingRequest(request_id="queued", model=MODEL, reason="second")
        waiting = (await trainer.StartTraining(queued)).run.run.id
        for run_id, why in ((waiting, "not needed"), (under_way, "too slow")):
            await trainer.CancelTraining(
                trainer_pb2.CancelTrainingRequest(request_id=f"cancel-{run_id}", run_id=run_id, reason=why)
            )
        assert (await ended(trainer, under_way)).run.status == "cancelled"

        async def calls() -> list[tuple[str, str, str, str]]:
            return sorted(line for line in await audited(registry) if line[1].endswith("Training"))

        wanted = [
            ("ben", "CancelTraining", under_way, "cancelled by ben: too slow"),
            ("ben", "CancelTraining", waiting, "cancelled by ben: not needed"),
            ("ben", "StartTraining", under_way, "first"),
            ("ben", "StartTraining", waiting, "second"),
        ]
        await becomes(calls, sorted(wanted))
