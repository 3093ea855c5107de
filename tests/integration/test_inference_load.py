"""What the repository calls of a running service do within the plan's rules, and what statistics count."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

from gyrostat.registry.v1 import model_pb2
from gyrostat_common import oip
from gyrostat_common.settings import KafkaSettings
from support.graphs import a_plan, a_reshaper, a_scorer
from support.inference import Place, a_service, until

LATE, PICKY = a_scorer({"wind": 1.0}), a_reshaper()
ROWS = {"wind": [1.0, 2.0]}


async def test_a_load_tries_again_what_the_plan_names_and_says_how_it_went(
    fresh_kafka: KafkaSettings, tmp_path: Path
) -> None:
    place = Place(tmp_path, fresh_kafka)
    load, unavailable = oip.RepositoryModelLoadRequest(model_name="late"), grpc.StatusCode.UNAVAILABLE
    async with a_service(place) as caller:
        refused = caller.stub.RepositoryModelLoad(load)
        assert await refused.code() is grpc.StatusCode.FAILED_PRECONDITION
        await caller.plan(a_plan("late", 1, LATE.planned(1)), applied=False)

        async def states() -> dict[str, str]:
            index = await caller.stub.RepositoryIndex(oip.RepositoryIndexRequest())
            return {f"{row.name}:{row.version}": row.state for row in index.models}

        async def failed() -> bool:
            return (await states()).get("late:1") == "UNAVAILABLE"

        await until(failed)
        again = caller.stub.RepositoryModelLoad(load)
        assert await again.code() in (unavailable, grpc.StatusCode.NOT_FOUND)
        assert "late:1 is not loaded" in await again.details()
        await place.store(LATE)
        await caller.stub.RepositoryModelLoad(load)
        assert (await caller.infer("late", ROWS)).model_version == "1"
        assert await states() == {"late:1": "READY"}
        await caller.stub.RepositoryModelLoad(load)
        load.parameters["config"].string_param = "{}"
        assert await caller.stub.RepositoryModelLoad(load).code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_every_request_is_counted_once_where_it_ended(fresh_kafka: KafkaSettings, tmp_path: Path) -> None:
    place = Place(tmp_path, fresh_kafka)
    await place.store(LATE, PICKY)
    samples = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]}'
    engine = model_pb2.EngineSettings(warm_up=model_pb2.WarmUp(samples_json=samples))
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, LATE.planned(1)))
        await caller.plan(a_plan("picky", 1, PICKY.planned(1), spec=model_pb2.ModelSpec(engine=engine)))
        for _ in range(3):
            await caller.infer("flights", ROWS)
        for bad in ({"wind": ["a"]}, {"rain": [1.0]}):
            with pytest.raises(grpc.aio.AioRpcError):
                await caller.infer("flights", bad)
        with pytest.raises(grpc.aio.AioRpcError, match="could not score"):
            await caller.infer("picky", {"x": np.ones(4, np.float32)})
        await caller.infer("picky", {"x": np.ones(3, np.float32)})
        reply = await caller.stub.ModelStatistics(oip.ModelStatisticsRequest())
        metadata = await caller.stub.ModelMetadata(oip.ModelMetadataRequest(name="picky"))
    rows = {row.name: row for row in reply.model_stats}
    flights, picky = rows["flights"].inference_stats, rows["picky"].inference_stats
    assert (flights.success.count, flights.fail.count, flights.queue.count) == (3, 2, 3)
    assert (rows["flights"].inference_count, rows["flights"].execution_count) == (6, 3)
    assert (picky.success.count, picky.fail.count) == (1, 1)
    assert metadata.properties["warm_up"] == "1 samples"
