"""Every mutating RPC is cut after its commit and repeated by the client: one effect, and the reply of the first."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_client import AsyncClient, Outcome
from gyrostat_common.errors import Unavailable
from gyrostat_local import LocalSystem
from support.cutting import CuttingProxy, cutting
from support.journeys import START, a_live_model, logistic_onnx, spec
from support.registry import passing_gates
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

MODEL = "once"


READS = ("Get", "List", "Watch", "Download")
# RPC → the service that has it, for every call that changes something.
CHANGES = {
    method.name: service
    for service, described in {
        "registry": registry_pb2.DESCRIPTOR.services_by_name["RegistryService"],
        "trainer": trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"],
        "monitor": monitor_pb2.DESCRIPTOR.services_by_name["MonitorService"],
    }.items()
    for method in described.methods
    if not method.name.startswith(READS)
}
LOST: set[str] = set()

Test = Callable[..., Awaitable[None]]


class Lossy:
    """A client whose replies can be lost, and the proxies that lose them."""

    def __init__(self, client: AsyncClient, proxies: dict[str, CuttingProxy]) -> None:
        self.client = client
        self._proxies = proxies
        self.lost: set[str] = set()

    @contextmanager
    def losing(self, rpc: str) -> Iterator[None]:
        """Inside, the reply to that call is lost once; fails when it was not."""
        proxy = self._proxies[CHANGES[rpc]]
        before = proxy.cuts
        proxy.arm()
        yield
        assert proxy.cuts - before == 1, f"the reply of {rpc} was not lost"
        self.lost.add(rpc)


def loses(*rpcs: str) -> Callable[[Test], Test]:
    """Says which calls' replies a test loses, and checks that it lost them."""
    LOST.update(rpcs)

    def checked(test: Test) -> Test:
        @functools.wraps(test)
        async def run(lossy: Lossy, **fixtures: object) -> None:
            lossy.lost.clear()
            await test(lossy=lossy, **fixtures)
            assert lossy.lost == set(rpcs)

        return run

    return checked


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lossy(system: LocalSystem, client: AsyncClient) -> AsyncIterator[Lossy]:
    await a_live_model(client, MODEL)
    async with (
        cutting(system.address("registry")) as registry,
        cutting(system.address("monitor")) as monitor,
        cutting(system.address("trainer")) as trainer,
        AsyncClient(
            registry=registry.address,
            monitor=monitor.address,
            trainer=trainer.address,
            inference=system.address("inference"),
            actor="lossy",
            timeout_s=30,
        ) as opened,
    ):
        # The first call on a channel settles the connection; only then is a HEADERS frame a reply to ours.
        await opened.models.get(MODEL)
        await opened.quality.status()
        await opened.runs.list(MODEL)
        yield Lossy(opened, {"registry": registry, "monitor": monitor, "trainer": trainer})


async def _entries(client: AsyncClient, action: str) -> int:
    return sum(entry.action == action for entry in await client.audit.list("", limit=None))


async def _twice(lossy: Lossy, rpc: str, call: Callable[[], Awaitable[object]]) -> object:
    """Make the call with its reply lost once; the audit log grew by one entry all the same."""
    before = await _entries(lossy.client, rpc)
    with lossy.losing(rpc):
        reply = await call()
    assert await _entries(lossy.client, rpc) - before == 1, rpc
    return reply


async def _again(lossy: Lossy, rpc: str, call: Callable[[], Awaitable[object]]) -> object:
    """The same for a stream, which the client does not repeat by itself: its caller does."""
    with lossy.losing(rpc), pytest.raises(Unavailable):
        await call()

    async def once_more() -> object | None:
        try:
            return await call()
        except Unavailable:  # on the connection that was cut: its end has not come through yet
            return None

    return await eventually(once_more, f"{rpc} goes through")


async def test_every_call_that_changes_something_is_here() -> None:
    assert set(CHANGES) == LOST


@loses("CreateModel", "CreateEnvironment", "UpdateModelSpec", "SetAlias", "DeleteAlias", "SetAutopilot")
async def test_models_environments_and_aliases(lossy: Lossy) -> None:
    c = lossy.client
    await _twice(lossy, "CreateModel", lambda: c.models.create("once-made", spec()))
    await _twice(lossy, "CreateEnvironment", lambda: c.models.create_environment("once-env"))
    changed = spec()
    changed.description = "changed"
    model = await _twice(lossy, "UpdateModelSpec", lambda: c.models.update_spec("once-made", changed))
    assert isinstance(model, model_pb2.Model)
    assert model.spec.revision == 2
    await _twice(lossy, "SetAlias", lambda: c.versions.set_alias(f"{MODEL}:1", "good"))
    await _twice(lossy, "DeleteAlias", lambda: c.versions.delete_alias(MODEL, "good"))
    await _twice(lossy, "SetAutopilot", lambda: c.models.set_autopilot("propose", MODEL, reason="test"))


@loses("CreateRun", "UpdateRun", "CreateModelVersion", "ArchiveModelVersion")
async def test_runs_and_versions(lossy: Lossy) -> None:
    c = lossy.client
    artifact = await c.versions.upload(logistic_onnx(slope=1.9))
    with lossy.losing("CreateRun"):
        run = await c.runs.create(model_pb2.Run(model=MODEL, status="running"))
    auc = model_pb2.Metric(name="auc", value=0.7, step=1)
    with lossy.losing("UpdateRun"):
        merged = await c.runs.update(model_pb2.Run(id=run.id, metrics=[auc]))
    assert [metric.value for metric in merged.metrics] == [0.7]
    before = (await c.models.get(MODEL)).latest_version
    request = registry_pb2.CreateModelVersionRequest(
        request_id="once-version", model=MODEL, artifact_sha256=artifact.sha256, run_id=run.id, hold=True
    )
    with lossy.losing("CreateModelVersion"):
        reply = await c.versions._registry.unary("CreateModelVersion", request, registry_pb2.CreateModelVersionResponse)
    assert reply.version.number == before + 1
    assert (await c.models.get(MODEL)).latest_version == before + 1
    await _twice(lossy, "ArchiveModelVersion", lambda: c.versions.archive(f"{MODEL}:{before + 1}"))


@loses("UploadArtifact")
async def test_a_file_is_stored_once(lossy: Lossy, system: LocalSystem) -> None:
    content = logistic_onnx(slope=1.77)
    sha256 = hashlib.sha256(content).hexdigest()
    stored = await _again(lossy, "UploadArtifact", lambda: lossy.client.versions.upload(content))
    assert isinstance(stored, model_pb2.Artifact)
    assert (stored.sha256, stored.size_bytes) == (sha256, len(content))
    # Content-addressed: there is one place for these bytes, and nothing half-written beside it.
    files = [path for path in (system.folder / "artifacts").rglob("*") if path.is_file() and sha256 in str(path)]
    assert [path.read_bytes() for path in files] == [content]


@loses("PinShadow", "StartRollout", "Rollback", "Promote", "RetireModel")
async def test_plans_change_once(lossy: Lossy) -> None:
    c = lossy.client
    second = (await c.versions.push(MODEL, logistic_onnx(slope=1.8), hold=True)).version.number

    async def one_revision(service_call: Callable[[], Awaitable[object]], action: str) -> object:
        before = (await c.plans.get(MODEL)).revision
        reply = await _twice(lossy, action, service_call)
        assert (await c.plans.get(MODEL)).revision == before + 1, action
        return reply

    await one_revision(lambda: c.rollouts.pin_shadow(MODEL, second), "PinShadow")
    await one_revision(lambda: c.rollouts.pin_shadow(MODEL, second, pinned=False), "PinShadow")
    await c.models.set_autopilot("on", MODEL, reason="test")
    started = await one_revision(lambda: c.rollouts.start(MODEL, second, reason="test"), "StartRollout")
    assert isinstance(started, registry_pb2.Rollout)
    await one_revision(lambda: c.rollouts.rollback(MODEL, reason="test"), "Rollback")
    await one_revision(lambda: c.rollouts.promote(MODEL, second, reason="test"), "Promote")
    await one_revision(lambda: c.rollouts.retire(MODEL, reason="test"), "RetireModel")


@loses("RepairPlanTopic")
async def test_a_plan_is_published_again_once(lossy: Lossy, client: AsyncClient) -> None:
    await a_live_model(client, "once-repaired")
    key = b"production/once-repaired"
    await _twice(lossy, "RepairPlanTopic", lambda: lossy.client.plans.repair_topic(key, reason="test"))
    said = [one async for one in client.events.tail(["serving.plan"], from_beginning=True, follow=False)]
    assert [one.payload.revision for one in said if one.key == key.decode()] == [1, 1]  # type: ignore[union-attr]


@loses("ApproveRollout")
async def test_a_proposed_roll_out_is_approved_once(lossy: Lossy, client: AsyncClient) -> None:
    await a_live_model(client, "once-proposed")
    await client.models.set_autopilot("propose", "once-proposed", reason="test")
    artifact = await client.versions.upload(logistic_onnx(slope=1.6))
    request = registry_pb2.CreateModelVersionRequest(
        request_id="once-candidate", model="once-proposed", artifact_sha256=artifact.sha256, gates=passing_gates()
    )
    registered = await client.versions._registry.unary(
        "CreateModelVersion", request, registry_pb2.CreateModelVersionResponse
    )
    assert registered.rollout.state == registry_pb2.ROLLOUT_STATE_PROPOSED
    before = (await client.plans.get("once-proposed")).revision
    approved = await _twice(
        lossy, "ApproveRollout", lambda: lossy.client.rollouts.approve(registered.rollout.id, reason="test")
    )
    assert isinstance(approved, registry_pb2.Rollout)
    assert list(approved.approvals) == ["lossy"]
    assert (await client.plans.get("once-proposed")).revision == before + 1


@loses("RecordOutcomes")
async def test_outcomes_are_taken_once(lossy: Lossy, client: AsyncClient) -> None:
    await a_live_model(client, "once-told")
    answer = await client.inference.predict("once-told", {"speed": [0.0], "load": [0.0]}, event_time=START)
    told = Outcome("once-told", 1.0, START + timedelta(minutes=2), prediction_id=answer.row_id())
    with lossy.losing("RecordOutcomes"):
        ids = await lossy.client.outcomes.record([told])
    assert len(ids) == 1

    async def received() -> int:
        return sum(model.outcomes_received for model in (await client.quality.status("once-told")).models)

    await eventually(received, "the outcome is taken in")
    assert await received() == 1


@loses("ImportDataset")
async def test_an_import_is_taken_once(lossy: Lossy, tmp_path: Path) -> None:
    c = lossy.client
    rows = pa.table({"speed": [0.1] * 50, "load": [0.2] * 50, "label": [0, 1] * 25, "event_time": [START] * 50})
    pq.write_table(rows, tmp_path / "rows.parquet")

    async def send(request_id: str) -> trainer_pb2.Dataset:
        return await c.datasets.import_file("once-rows", tmp_path / "rows.parquet", append=True, request_id=request_id)

    first = await send("once-first")
    second = await _again(lossy, "ImportDataset", lambda: send("once-import"))
    assert isinstance(second, trainer_pb2.Dataset)
    assert (second.rows, second.delta_version) == (100, first.delta_version + 1)
    assert [(d.rows, d.delta_version) for d in await c.datasets.list() if d.name == "once-rows"] == [
        (100, second.delta_version)
    ]


@loses("StartTraining", "CancelTraining")
async def test_a_training_is_started_and_cancelled_once(lossy: Lossy, tmp_path: Path) -> None:
    c = lossy.client
    made = spec()
    made.retrain.CopyFrom(model_pb2.RetrainPolicy(pipeline="endless", dataset="once-history", min_rows=100))
    await c.models.create("once-trained", made)
    times = [START - timedelta(minutes=10 * (4000 - number)) for number in range(4000)]
    rows = pa.table({"speed": [0.1, 0.2] * 2000, "load": [0.2] * 4000, "label": [0, 1] * 2000, "event_time": times})
    pq.write_table(rows, tmp_path / "history.parquet")
    await c.datasets.import_file("once-history", tmp_path / "history.parquet")
    with lossy.losing("StartTraining"):
        started = await c.runs.start("once-trained", reason="test", request_id="once-train")
    assert [run.run.id for run in await c.runs.list("once-trained")] == [started.run.id]

    async def fitting() -> bool:
        run = await c.runs.get(started.run.id)
        assert run.run.status in ("queued", "running"), run.run.error
        return run.progress.stage == "fit"

    # Its pipeline would go on for ever, so that the run is open when the cancellation comes.
    await eventually(fitting, "the pipeline runs")
    with lossy.losing("CancelTraining"):
        await c.runs.cancel(started.run.id, reason="test")
    last = [run async for run in c.runs.watch(started.run.id)][-1]
    assert (last.run.status, last.run.error) == ("cancelled", "cancelled by lossy: test")
