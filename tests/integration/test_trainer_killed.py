"""kill -9 of the trainer in the middle of a fit: the next process goes on, repeats nothing, and leaves no orphan."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pyarrow.parquet as pq

from gyrostat.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gyrostat_common import rpc
from gyrostat_local.readiness import free_port
from gyrostat_trainer.engine.datasets import Datasets
from gyrostat_trainer.engine.rows import open_table
from support.trainer import MODEL, FakeRegistry, a_spec, labelled_rows, serving


@asynccontextmanager
async def a_process(folder: Path, registry: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The trainer as people run it; the log is down, which must not matter."""
    environ = {
        "GYROSTAT_DATA__FOLDER": str(folder),
        "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "GYROSTAT_TRAINER__GRPC_ADDRESS": f"127.0.0.1:{port}",
        "GYROSTAT_TRAINER__METRICS_ADDRESS": "127.0.0.1:0",
        "GYROSTAT_TRAINER__REGISTRY_ADDRESS": registry,
    }
    log = (folder / "trainer.log").open("ab")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GYROSTAT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gyrostat_trainer", env={**kept, **environ}, stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)
        log.close()


async def ready(stub: Any) -> None:
    await stub.ListDatasets(trainer_pb2.ListDatasetsRequest(), wait_for_ready=True, timeout=60)


def job_pids(folder: Path) -> list[int]:
    return [json.loads(path.read_text())["pid"] for path in (folder / "trainer" / "runs").rglob("*.pid")]


async def test_a_killed_trainer_resumes_and_repeats_nothing(tmp_path: Path) -> None:
    registry, port = FakeRegistry(a_spec()), free_port()
    history = tmp_path / "history.parquet"
    pq.write_table(labelled_rows(40), history)
    Datasets(str(tmp_path / "datasets")).write("history", history, "", False, "")
    slow = '{"num_boost_round": 600, "num_leaves": 63, "min_data_in_leaf": 5}'
    request = trainer_pb2.StartTrainingRequest(request_id=str(uuid.uuid4()), model=MODEL, parameters_json=slow)
    async with serving(registry) as address, rpc.connect(f"127.0.0.1:{port}") as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        async with a_process(tmp_path, address, port) as process:
            await ready(stub)
            run_id = (await stub.StartTraining(request)).run.run.id
            async for reply in stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run_id), timeout=60):
                if reply.run.progress.text.startswith("tree"):
                    break
            orphans = job_pids(tmp_path)
            process.kill()
            await process.wait()
        assert len(orphans) == 1
        snapshot = (tmp_path / "trainer" / "runs" / run_id / "split.json").stat().st_mtime_ns
        async with a_process(tmp_path, address, port):
            await ready(stub)
            assert (await stub.StartTraining(request)).run.run.id == run_id
            assert not _is_running(orphans[0]) or orphans[0] not in job_pids(tmp_path)
            try:
                async for reply in stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run_id), timeout=100):
                    last = reply.run
            except grpc.aio.AioRpcError as exc:
                raise AssertionError((tmp_path / "trainer.log").read_text()[-3000:]) from exc
            assert (tmp_path / "trainer" / "runs" / run_id / "split.json").stat().st_mtime_ns == snapshot
    assert last.run.status == "succeeded", last.run.error
    assert registry.calls.count("CreateRun") == 1
    assert len(registry.versions) == 1
    assert not _is_running(orphans[0])
    assert open_table(str(tmp_path / "datasets" / "history")) is not None


def _is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
