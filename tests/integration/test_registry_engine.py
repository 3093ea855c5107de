"""How a model is opened, as the registry takes it in and sends it out in the plan."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from support.registry import Registry, a_spec, onnx_bytes, running


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(tmp_path) as one:
        yield one


async def test_engine_settings_and_samples_travel_in_the_plan(registry: Registry) -> None:
    await registry.model()
    engine = model_pb2.EngineSettings(deterministic=True, execution_providers=["CUDAExecutionProvider"])
    engine.warm_up.rows.extend([1, 64])
    await registry.stub.UpdateModelSpec(pb.UpdateModelSpecRequest(model="flights", spec=a_spec(engine=engine)))
    samples = await registry.upload(b'{"inputs": []}', "warm-up.json")
    made = await registry.stub.CreateModelVersion(
        pb.CreateModelVersionRequest(
            model="flights", artifact_sha256=await registry.upload(onnx_bytes()), warm_up_sha256=samples
        )
    )
    assert made.version.warm_up.sha256 == samples
    await registry.stub.Promote(pb.PromoteRequest(model="flights", number=1, force=True, reason="first"))
    plan = (await registry.stub.GetPlan(pb.GetPlanRequest(model="flights"))).plan
    assert (plan.champion.warm_up.sha256, plan.champion.warm_up.name) == (samples, "warm-up.json")
    settled = plan.spec.engine
    assert (settled.deterministic, list(settled.warm_up.rows), settled.batching.max_batch_rows) == (True, [1, 64], 256)
    assert settled.optimization == model_pb2.GRAPH_OPTIMIZATION_ALL
    wrong = a_spec(engine=model_pb2.EngineSettings(inter_op_threads=1000))
    with pytest.raises(grpc.aio.AioRpcError, match=r"spec\.engine\.inter_op_threads 1000: 1 to 256"):
        await registry.stub.UpdateModelSpec(pb.UpdateModelSpecRequest(model="flights", spec=wrong))


async def test_samples_that_are_none_are_refused(registry: Registry) -> None:
    await registry.model()
    good, text = await registry.upload(onnx_bytes()), await registry.upload(b"no samples at all")
    for samples, said in ((text, "the samples to warm up with: no JSON"), ("e" * 64, "nothing was uploaded")):
        asked = pb.CreateModelVersionRequest(model="flights", artifact_sha256=good, warm_up_sha256=samples)
        with pytest.raises(grpc.aio.AioRpcError, match=said):
            await registry.stub.CreateModelVersion(asked)
