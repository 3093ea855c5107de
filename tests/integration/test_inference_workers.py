"""Inference with two workers, as real processes on a real Kafka: one replica, whoever of them answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from gyrostat_common import oip
from gyrostat_common.bus import topics
from gyrostat_common.settings import KafkaSettings
from support.graphs import a_plan, a_scorer
from support.inference import Caller, Place, a_request, calling, payload, until

FLIGHTS = a_scorer({"distance": 1.0, "wind": -1.0}, texts=["carrier"])
CANDIDATE = a_scorer({"distance": 2.0, "wind": -1.0}, texts=["carrier"])
ROWS = {"distance": [1.0, 2.0], "wind": [0.0, 0.5], "carrier": ["UA", "B6"]}
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@contextmanager
def a_replica(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process; ended in good order, or else the test fails."""
    environ = {**os.environ, **place.environ(), "GYROSTAT_INFERENCE__WORKERS": "2"}
    service = subprocess.Popen([sys.executable, "-m", "gyrostat_inference"], env=environ)
    try:
        yield service
    finally:
        service.terminate()
        try:
            service.wait(60)
        finally:
            service.kill()


@pytest.fixture
async def place(fresh_kafka: KafkaSettings, tmp_path: Path) -> Place:
    place = Place(tmp_path, fresh_kafka)
    await place.store(FLIGHTS, CANDIDATE)
    await topics.apply(fresh_kafka)
    return place


def workers(service: subprocess.Popen[bytes]) -> dict[int, int]:
    """Process ids by the number of the worker."""
    found = {}
    for pid in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"gyrostat_inference.worker" in words:
                found[int(words[words.index(b"--number") + 1])] = int(pid)
    return found


@asynccontextmanager
async def stubs(place: Place, count: int) -> AsyncIterator[list[oip.Stub]]:
    """Callers with a connection each, all open."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{place.port}", options=OWN_CONNECTION)
            )
            await asyncio.wait_for(channel.channel_ready(), 60)
            opened.append(oip.Stub(channel))
        yield opened


async def ready(caller: Caller) -> bool:
    try:
        return bool((await caller.stub.ServerReady(oip.ServerReadyRequest(), timeout=5)).ready)
    except grpc.aio.AioRpcError:
        return False


def get(port: int, path: str) -> str:
    return str(urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read().decode())


def metric(place: Place, name: str) -> float:
    page = get(place.metrics_port, "metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


async def served(caller: Caller, revision: int) -> None:
    """Until all workers serve it: the replica says so."""
    await caller.heartbeat(lambda beat: beat.revisions.get("flights") == revision)


async def test_two_workers_answer_as_one_replica(place: Place):
    with a_replica(place) as service:
        async with calling(place) as caller, stubs(place, 8) as callers:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)
            assert await ready(caller)
            for _ in range(5):
                await asyncio.gather(*(stub.ModelInfer(a_request("flights", ROWS)) for stub in callers))
            for stub in (callers[0], callers[-1]):
                (stats,) = (await stub.ModelStatistics(oip.ModelStatisticsRequest(name="flights"))).model_stats
                assert (stats.inference_count, stats.inference_stats.success.count) == (80, 40)
                (row,) = (await stub.RepositoryIndex(oip.RepositoryIndexRequest())).models
                assert (row.name, row.version, row.state) == ("flights", "1", "READY")
            assert await asyncio.to_thread(metric, place, "nv_inference_request_success{") == 40
            assert await asyncio.to_thread(metric, place, "gyrostat_inference_request_duration_seconds_count{") == 40
            statistics = await asyncio.to_thread(get, place.rest_port, "v2/models/flights/stats")
            assert json.loads(statistics)["model_stats"][0]["inference_count"] in (80, "80")
            open_now = await until(lambda: asyncio.to_thread(connections, place))
            assert max(open_now) - min(open_now) <= 1
            beat = await caller.heartbeat(lambda b: sum(k.logged for k in b.books) == 80)
            assert [k.accepted for k in beat.books if k.spool_id.startswith("answer-")] == [40, 40]
            frames = {(f.stream, f.frame_no): f for f in map(payload, await caller.logged(80))}
            assert sum(frame.rows for frame in frames.values()) == 80
            assert len({stream.split("/")[0] for stream, _ in frames}) == 2, "each has a spool of its own"
            assert len(workers(service)) == 2
    assert service.returncode == 0


def connections(place: Place) -> list[float]:
    """By worker, once all nine are told."""
    page = get(place.metrics_port, "metrics")
    found = [float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("gyrostat_worker_conn")]
    return found if sum(found) == 9 else []


async def test_a_killed_worker_loses_no_answered_row_and_comes_back(place: Place):
    answered: Counter[int] = Counter()
    with a_replica(place) as service:
        async with calling(place) as caller, stubs(place, 8) as callers:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)
            stop, broken = asyncio.Event(), list[grpc.StatusCode]()

            async def call(number: int) -> None:
                while not stop.is_set():
                    try:
                        await callers[number].ModelInfer(a_request("flights", ROWS), timeout=20)
                        answered[number] += 1
                    except grpc.aio.AioRpcError as error:
                        broken.append(error.code())

            calls = [asyncio.create_task(call(number)) for number in range(8)]
            await until(lambda: sum(answered.values()) > 200)
            first = workers(service)
            os.kill(first[1], signal.SIGKILL)
            await until(lambda: workers(service).get(1) not in (None, first[1]))
            before = dict(answered)
            await until(lambda: all(answered[n] > before.get(n, 0) + 20 for n in range(8)))
            stop.set()
            await asyncio.gather(*calls)
            assert workers(service)[0] == first[0], "the other one was not touched"
            assert set(broken) == {grpc.StatusCode.UNAVAILABLE}
            assert len(broken) <= 8 * 3, "only calls of its connections, until they are open again"
            rows = 2 * sum(answered.values())
            beat = await caller.heartbeat(
                lambda b: sum(k.logged for k in b.books) >= rows and not any(k.waiting for k in b.books)
            )
            for books in beat.books:
                assert books.accepted == books.logged + books.sampled_out + books.waiting + sum(books.dropped.values())
            assert rows <= sum(k.accepted for k in beat.books) <= rows + 2 * 8
            (stats,) = (await callers[0].ModelStatistics(oip.ModelStatisticsRequest(name="flights"))).model_stats
            assert stats.inference_count <= rows + 2 * 8
            assert await asyncio.to_thread(metric, place, "nv_inference_count{") == stats.inference_count
    assert service.returncode == 0


async def test_plans_change_under_load_and_no_call_fails(place: Place):
    with a_replica(place) as service:
        async with calling(place) as caller, stubs(place, 4) as callers:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)
            stop, newest = asyncio.Event(), 1
            seen: set[str] = set()

            async def call(stub: oip.Stub) -> None:
                last = 0
                while not stop.is_set():
                    reply = await stub.ModelInfer(a_request("flights", ROWS), timeout=20)
                    revision = reply.parameters["gyrostat_revision"].int64_param
                    assert last <= revision <= newest, "never backwards on one connection, never from no plan"
                    assert reply.model_version == str(revision), "the version of that plan"
                    last = revision
                    seen.add(reply.model_version)

            async with asyncio.TaskGroup() as group:
                for stub in callers:
                    group.create_task(call(stub))
                for revision in range(2, 6):
                    newest = revision
                    graph = CANDIDATE if revision % 2 == 0 else FLIGHTS
                    await caller.plan(a_plan("flights", revision, graph.planned(revision)), applied=False)
                    await served(caller, revision)
                await until(lambda: "5" in seen)
                stop.set()
            assert seen == {"1", "2", "3", "4", "5"}
    assert service.returncode == 0


async def test_workers_end_when_the_supervisor_is_killed_and_their_rows_are_shipped(place: Place):
    with a_replica(place) as service:
        async with calling(place) as caller, stubs(place, 4) as callers:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)
            await asyncio.gather(*(stub.ModelInfer(a_request("flights", ROWS)) for stub in callers))
            pids = list(workers(service).values())
            service.kill()
            service.wait()
            await until(lambda: not any(alive(pid) for pid in pids))
            frames = {(f.stream, f.frame_no): f for f in map(payload, await caller.logged(8))}
            assert sum(frame.rows for frame in frames.values()) == 8
    with a_replica(place) as service:
        async with calling(place) as caller:
            await until(lambda: ready(caller))
            assert (await caller.infer("flights", ROWS)).model_version == "1"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_at_the_end_calls_in_flight_are_answered_and_every_row_is_shipped(place: Place):
    refused, answered, codes = 0, 0, set[grpc.StatusCode]()
    with a_replica(place) as service:
        async with calling(place) as caller, stubs(place, 4) as callers:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)

            async def call(stub: oip.Stub) -> None:
                nonlocal refused, answered
                while not refused:
                    try:
                        await stub.ModelInfer(a_request("flights", ROWS), timeout=20)
                        answered += 1
                    except grpc.aio.AioRpcError as error:
                        codes.add(error.code())
                        refused += 1

            calls = [asyncio.create_task(call(stub)) for stub in callers]
            await until(lambda: answered > 100)
            service.send_signal(signal.SIGTERM)
            await asyncio.gather(*calls)
            assert codes == {grpc.StatusCode.UNAVAILABLE}
            assert await asyncio.to_thread(service.wait, 60) == 0
            frames = {(f.stream, f.frame_no): f for f in map(payload, await caller.logged(2 * answered))}
            assert sum(frame.rows for frame in frames.values()) == 2 * answered


async def test_what_cannot_be_is_said(place: Place):
    place.options.update(workers="2", front="grpcio")
    code, said = await asyncio.to_thread(run_to_the_end, place)
    assert code == 3
    assert "GYROSTAT_INFERENCE__FRONT=grpcio answers in one process" in said
    place.options["front"] = "own"
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", place.port)
    try:
        code, said = await asyncio.to_thread(run_to_the_end, place)
    finally:
        taken.close()
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{place.port}: stop what uses the port" in said


def run_to_the_end(place: Place) -> tuple[int, str]:
    command = [sys.executable, "-m", "gyrostat_inference"]
    done = subprocess.run(command, env={**os.environ, **place.environ()}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


async def test_it_starts_and_answers_from_its_last_plan_with_kafka_down(place: Place):
    with a_replica(place):
        async with calling(place) as caller:
            await caller.plan(a_plan("flights", 1, FLIGHTS.planned(1)), applied=False)
            await served(caller, 1)
    away = Place(place.folder, place.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"}))
    away.options["ship_at_close_s"] = "0"
    with a_replica(away):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{away.port}") as channel:
            stub = oip.Stub(channel)

            async def answers() -> str:
                with suppress(grpc.aio.AioRpcError):
                    reply = await stub.ModelInfer(a_request("flights", ROWS), timeout=5, wait_for_ready=True)
                    return str(reply.model_version)
                return ""

            assert await until(answers) == "1"
