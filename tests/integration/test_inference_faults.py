"""Inference when things go wrong: damaged models, brokers that are down, kills; and values that must stay nowhere."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2
from gyrostat_common import oip
from gyrostat_common.bus import topics
from gyrostat_common.settings import KafkaSettings
from support.graphs import GraphFile, a_picky_scorer, a_plan, a_scorer, an_echo
from support.inference import Caller, Place, a_service, calling, payload, quiet_port, until
from support.kafka import Broker

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
CANDIDATE = a_scorer({"distance": 2.0, "wind": -1.0}, texts=["carrier"])
ROWS = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}


@pytest.fixture
async def caller(fresh_kafka: KafkaSettings, tmp_path: Path) -> AsyncIterator[Caller]:
    place = Place(tmp_path, fresh_kafka)
    await place.store(FLIGHTS, CANDIDATE)
    async with a_service(place) as caller:
        yield caller


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def answers(books: Any) -> list[Any]:
    return [each for each in books if each.spool_id.startswith("answer-")]


async def test_models_that_must_not_be_opened_leave_the_old_one_answering(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    broken = {
        2: (GraphFile(b"this is no ONNX", FLIGHTS.inputs, FLIGHTS.outputs), "cannot open"),
        3: (GraphFile(CANDIDATE.raw[: len(CANDIDATE.raw) // 2], FLIGHTS.inputs, FLIGHTS.outputs), "cannot open"),
        4: (GraphFile(CANDIDATE.raw, FLIGHTS.inputs[:2], FLIGHTS.outputs), "other tensors than were registered"),
    }
    await caller.place.store(*(graph for graph, _ in broken.values()))
    absent = CANDIDATE.planned(5)
    absent.artifact.sha256 = "0" * 64
    wrong = [(graph.planned(number), text) for number, (graph, text) in broken.items()]
    for revision, (planned, text) in enumerate([*wrong, (absent, "cannot be had")], start=2):
        await caller.plan(a_plan("flights", revision, planned), applied=False)
        beat = await caller.heartbeat(lambda b, n=planned.number: any(v.version == n for v in b.versions))
        (version,) = [v for v in beat.versions if v.version == planned.number]
        assert not version.loaded
        assert text in version.reason
        assert beat.revisions == {"flights": 1}, "the revision that is really served"
        assert (await caller.infer("flights", ROWS)).model_version == "1"
    await caller.plan(a_plan("flights", 9, CANDIDATE.planned(6)))
    assert (await caller.infer("flights", ROWS)).model_version == "6"


async def test_a_damaged_file_in_the_store_is_not_opened(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    stored = next((caller.place.folder / "artifacts").rglob(CANDIDATE.sha256))
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + b"!")
    await caller.plan(a_plan("flights", 2, CANDIDATE.planned(2)), applied=False)
    beat = await caller.heartbeat(lambda b: any(v.version == 2 for v in b.versions))
    assert "have digest" in next(v.reason for v in beat.versions if v.version == 2)
    stored.write_bytes(whole)
    await until(lambda: caller.serves("flights", 2))  # tried again by itself


async def test_a_swap_under_load_fails_no_call(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    seen: set[str] = set()
    stop = asyncio.Event()

    async def call() -> int:
        calls = 0
        while not stop.is_set():
            reply = await caller.infer("flights", ROWS)
            seen.add(reply.model_version)
            calls += 1
        return calls

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call()) for _ in range(4)]
        await until(lambda: "1" in seen)
        for revision in range(2, 6):
            graph = CANDIDATE if revision % 2 else FLIGHTS
            await caller.plan(a_plan("flights", revision, graph.planned(revision)))
        await until(lambda: "5" in seen)
        stop.set()
    total = sum(task.result() for task in tasks)
    assert {"1", "5"} <= seen
    rows = sum(payload(record).rows for record in await caller.logged(2 * total))
    assert rows == 2 * total


async def test_the_broker_may_go_away_and_come_back(own_broker: Broker, tmp_path: Path):
    place = Place(tmp_path, own_broker.settings)
    await place.store(FLIGHTS)
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
        for _ in range(20):
            await caller.infer("flights", ROWS)
        own_broker.kill()
        for _ in range(200):
            await caller.infer("flights", ROWS)
        own_broker.start()
        beat = await caller.heartbeat(lambda b: sum(k.logged for k in answers(b.books)) == 440)
        assert [(k.accepted, k.waiting, dict(k.dropped)) for k in answers(beat.books)] == [(440, 0, {})]
        frames = [payload(record) for record in await caller.logged(440)]
        once = {(frame.stream, frame.frame_no): frame for frame in frames}
        assert sum(frame.rows for frame in once.values()) == 440


def start(place: Place) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "gyrostat_inference"], env={**os.environ, **place.environ()})


async def test_it_starts_and_answers_with_everything_else_down_and_ships_later(own_broker: Broker, tmp_path: Path):
    place = Place(tmp_path, own_broker.settings, options={"ship_at_close_s": 1})
    await place.store(FLIGHTS)
    async with a_service(place) as caller:
        await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    own_broker.kill()
    (tmp_path / "artifacts").rename(tmp_path / "gone")
    service = start(place)
    try:
        async with calling(place) as caller:
            ready = oip.ServerReadyRequest()
            await until(lambda: is_ready(caller, ready))
            for _ in range(10):
                await caller.infer("flights", ROWS)
            service.send_signal(signal.SIGKILL)
            service.wait()
            own_broker.start()
            service = start(place)
            beat = await caller.heartbeat(lambda b: sum(k.logged for k in answers(b.books)) == 20)
            assert all(k.waiting == 0 for k in beat.books)
    finally:
        service.terminate()
        service.wait(40)


async def is_ready(caller: Caller, request: oip.ServerReadyRequest) -> bool:
    try:
        return bool((await caller.stub.ServerReady(request, timeout=2)).ready)
    except grpc.aio.AioRpcError:
        return False


async def all_logged(caller: Caller, rows: int) -> int:
    """Waits until that many answered rows at least are in the books and none waits; how many are logged."""

    def settled(beat: pb.PlanApplied) -> bool:
        return sum(k.accepted for k in answers(beat.books)) >= rows and not any(k.waiting for k in beat.books)

    beat = await caller.heartbeat(settled)
    return sum(k.logged for k in answers(beat.books))


async def test_kill_9_in_mid_load_loses_no_answered_row(fresh_kafka: KafkaSettings, tmp_path: Path):
    place = Place(tmp_path, fresh_kafka)
    await place.store(FLIGHTS)
    await topics.apply(fresh_kafka)
    service = start(place)
    answered: set[str] = set()
    try:
        async with calling(place) as caller:
            await caller.stub.ServerLive(oip.ServerLiveRequest(), wait_for_ready=True, timeout=30)
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))

            async def call() -> None:
                while True:
                    try:
                        reply = await caller.infer("flights", ROWS)
                    except grpc.aio.AioRpcError:
                        return
                    answered.add(reply.parameters["gyrostat_prediction_id"].string_param)

            calls = [asyncio.create_task(call()) for _ in range(8)]
            await until(lambda: len(answered) > 300)
            service.send_signal(signal.SIGKILL)
            service.wait()
            await asyncio.gather(*calls)
            service = start(place)
            logged = await all_logged(caller, 2 * len(answered))
            assert 2 * len(answered) <= logged <= 2 * (len(answered) + 8)
            frames = {(f.stream, f.frame_no): f for f in map(payload, await caller.logged(logged))}
            ids = {
                bytes(frame.prediction_ids[16 * n :][:16]).hex() for frame in frames.values() for n in range(frame.rows)
            }
            assert {each.replace("-", "") for each in answered} <= ids
    finally:
        service.terminate()
        service.wait(40)


async def test_a_taken_port_and_an_unknown_setting_say_what_to_do(fresh_kafka: KafkaSettings, tmp_path: Path):
    place = Place(tmp_path, fresh_kafka)
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", place.port)
    try:
        code, said = await asyncio.to_thread(run_to_the_end, place)
    finally:
        taken.close()
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{place.port}" in said
    place = Place(tmp_path, fresh_kafka, port=quiet_port(), options={"spool_foldr": "x"})
    code, said = await asyncio.to_thread(run_to_the_end, place)
    assert code == 2
    assert "GYROSTAT_INFERENCE__SPOOL_FOLDR is not a setting; did you mean GYROSTAT_INFERENCE__SPOOL_FOLDER?" in said


def run_to_the_end(place: Place) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gyrostat_inference"],
        env={**os.environ, **place.environ()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


async def test_rows_too_large_for_the_log_go_to_the_artifact_store(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    await caller.infer("flights", {**ROWS, "carrier": ["x" * 100_000, "UA"]})
    frame = payload((await caller.logged(2))[0])
    column = frame.inputs[2]
    assert column.by_digest
    digest = oip.unpack_bytes(column.values)[0].decode()
    stored = next((caller.place.folder / "artifacts").rglob(digest)).read_bytes()
    assert oip.unpack_bytes(stored) == [b"x" * 100_000]
    assert np.frombuffer(frame.inputs[0].values, "<f4").tolist() == [1.0, 2.0]


async def test_the_sample_rate_leaves_rows_out_and_counts_them(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1), spec=model_pb2.ModelSpec(log_sample_rate=0.0)))
    await caller.infer("flights", ROWS)
    beat = await caller.heartbeat(lambda b: any(k.sampled_out for k in b.books))
    assert [(k.accepted, k.sampled_out, k.logged, k.waiting) for k in answers(beat.books)] == [(2, 2, 0, 0)]


async def test_a_retired_model_is_not_found_and_says_since_when(caller: Caller):
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)))
    await caller.plan(a_plan("flights", 2, None))
    error = await refused(caller.infer("flights", ROWS))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "flights is retired since revision 2 of its plan"


async def test_the_fallback_answers_when_the_champion_raises(caller: Caller):
    picky, echo = a_picky_scorer(), an_echo("FP32", (-1, 1))
    await caller.place.store(picky, echo)
    await caller.plan(a_plan("picky", 2, picky.planned(2), fallback=echo.planned(1)))
    fine = await caller.infer("picky", {"x": np.ones((3, 1), np.float32)})
    assert fine.parameters["gyrostat_variant"].string_param == "champion"
    fell_back = await caller.infer("picky", {"x": np.ones((2, 1), np.float32)})
    assert (fell_back.parameters["gyrostat_variant"].string_param, fell_back.model_version) == ("fallback", "1")
    await caller.plan(a_plan("picky", 3, picky.planned(2)))
    error = await refused(caller.infer("picky", {"x": np.ones((2, 1), np.float32)}))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(error.details()).startswith("picky:2 could not score these inputs")


CANARY = "canary-4711-must-be-nowhere"


@pytest.mark.parametrize("kept", ["SENSITIVITY_DROP", "SENSITIVITY_HASH"])
async def test_a_sensitive_value_is_nowhere_on_disk_and_not_on_the_log(
    caller: Caller, kept: str, capsys: pytest.CaptureFixture[str]
):
    spec = model_pb2.ModelSpec(sensitivity={"carrier": kept}, entity_input="carrier")
    await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1), spec=spec))
    await caller.infer("flights", {**ROWS, "carrier": [CANARY, "B6"]})
    await refused(caller.infer("flights", {"carrier": [CANARY, "B6"]}))
    frame = payload((await caller.logged(2))[0])
    assert CANARY.encode() not in frame.SerializeToString()
    names = [column.name for column in frame.inputs]
    if kept == "SENSITIVITY_DROP":
        assert names == ["distance", "wind"]
        assert not frame.entities
    else:
        assert [len(e) for e in oip.unpack_bytes(frame.inputs[names.index("carrier")].values)] == [16, 16]
        assert all(len(entity) == 16 for entity in frame.entities)
    for path in caller.place.folder.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in capsys.readouterr().out
