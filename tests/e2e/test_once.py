"""Every mutating RPC is cut after its commit and repeated by the client: one effect, and the reply of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client import AsyncClient, Outcome
from gyrostat_local import LocalSystem
from support.cutting import CuttingProxy, cutting
from support.journeys import START, a_live_model, eventually, logistic_onnx, spec

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

MODEL = "once"


class Lossy:
    """A client whose replies can be lost, and the proxies that lose them."""

    def __init__(self, client: AsyncClient, proxies: dict[str, CuttingProxy]) -> None:
        self.client = client
        self._proxies = proxies

    def lose(self, service: str) -> Callable[[], int]:
        """Lose the next reply of a service; the function returned says how many were lost since."""
        proxy = self._proxies[service]
        before = proxy.cuts
        proxy.arm()
        return lambda: proxy.cuts - before


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


async def _twice(
    lossy: Lossy, action: str, call: Callable[[], Awaitable[object]], service: str = "registry", per_call: int = 1
) -> object:
    """Make the call with its reply lost once; the audit log grew by one entry all the same."""
    before = await _entries(lossy.client, action)
    lost = lossy.lose(service)
    reply = await call()
    assert lost() == 1, f"the reply of {action} was not lost"
    assert await _entries(lossy.client, action) - before == per_call, action
    return reply


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


async def test_runs_and_versions(lossy: Lossy) -> None:
    c = lossy.client
    artifact = await c.versions.upload(logistic_onnx(slope=1.9))
    lost = lossy.lose("registry")
    run = await c.runs.create(model_pb2.Run(model=MODEL, status="running"))
    assert lost() == 1
    lost = lossy.lose("registry")
    merged = await c.runs.update(model_pb2.Run(id=run.id, metrics=[model_pb2.Metric(name="auc", value=0.7, step=1)]))
    assert lost() == 1
    assert [metric.value for metric in merged.metrics] == [0.7]
    before = (await c.models.get(MODEL)).latest_version
    lost = lossy.lose("registry")
    request = registry_pb2.CreateModelVersionRequest(
        request_id="once-version", model=MODEL, artifact_sha256=artifact.sha256, run_id=run.id, hold=True
    )
    reply = await c.versions._registry.unary("CreateModelVersion", request, registry_pb2.CreateModelVersionResponse)
    assert lost() == 1
    assert reply.version.number == before + 1
    assert (await c.models.get(MODEL)).latest_version == before + 1
    await _twice(lossy, "ArchiveModelVersion", lambda: c.versions.archive(f"{MODEL}:{before + 1}"))


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


async def test_outcomes_are_taken_once(lossy: Lossy, client: AsyncClient) -> None:
    await a_live_model(client, "once-told")
    answer = await client.inference.predict("once-told", {"speed": [0.0], "load": [0.0]}, event_time=START)
    lost = lossy.lose("monitor")
    ids = await lossy.client.outcomes.record(
        [Outcome("once-told", 1.0, START + timedelta(minutes=2), prediction_id=answer.row_id())]
    )
    assert lost() == 1
    assert len(ids) == 1

    async def received() -> int:
        return sum(model.outcomes_received for model in (await client.quality.status("once-told")).models)

    await eventually(received, "the outcome is taken in")
    assert await received() == 1


async def test_a_dataset_and_a_training_start_once(lossy: Lossy, tmp_path: Path) -> None:
    c = lossy.client
    rows = pa.table({"speed": [0.1] * 50, "load": [0.2] * 50, "label": [0, 1] * 25, "event_time": [START] * 50})
    pq.write_table(rows, tmp_path / "rows.parquet")
    first = await c.datasets.import_file("once-rows", tmp_path / "rows.parquet", request_id="once-import")
    again = await c.datasets.import_file("once-rows", tmp_path / "rows.parquet", request_id="once-import")
    assert (again.delta_version, again.rows) == (first.delta_version, 50)
    before = len(await c.runs.list(MODEL))
    lost = lossy.lose("trainer")
    started = await c.runs.start(MODEL, reason="test", hold=True, request_id="once-train")
    assert lost() == 1
    assert len(await c.runs.list(MODEL)) == before + 1
    lost = lossy.lose("trainer")
    await c.runs.cancel(started.run.id, reason="test")
    assert lost() == 1
