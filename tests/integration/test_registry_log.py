"""The registry and the log: a broker away, a topic lost, a database restored, a real Kafka."""

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc

from gyrostat.events.v1 import events_pb2 as ev
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat.registry.v1.registry_pb2_grpc import RegistryServiceStub
from gyrostat_common import bus, rpc
from gyrostat_common.clock import FixedClock
from gyrostat_common.settings import KafkaSettings
from gyrostat_common.times import to_proto
from gyrostat_registry.app import opened
from gyrostat_registry.settings import Settings
from support.registry import DAY, EVENT_TIME, NOON, Registry, running
from support.waiting import eventually


def revisions(log: bus.MemoryBus) -> list[int]:
    return [event.payload.revision for event in log.events(ev.ServingPlan)]  # type: ignore[attr-defined]


async def a_live_model(registry: Registry) -> None:
    await registry.model()
    await registry.version(weight=1.0)
    await registry.version(weight=2.0)


async def test_a_lost_topic_is_filled_again_at_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        await a_live_model(registry)
        await registry.said(ev.ServingPlan)
        assert revisions(registry.log) == [1, 2]
    empty = bus.MemoryBus()
    async with running(tmp_path, empty, ids="again") as registry:
        await eventually(lambda: revisions(empty) == [2])
        assert (await registry.plan()).revision == 2


async def test_an_older_last_record_is_replaced_on_the_timer_and_only_when_missed_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        await a_live_model(registry)
        await registry.said(ev.ServingPlan)
        repair = registry.app.core.repair
        key = ("production", "flights")
        assert await repair.compare({key: 2}, {key: 2}, sure=False) == 0
        assert await repair.compare({key: 1}, {key: 2}, sure=False) == 0
        assert await repair.compare({key: 1}, {key: 2}, sure=False) == 1
        await registry.said(ev.ServingPlan)
        assert revisions(registry.log) == [1, 2, 2]


async def test_a_restored_database_goes_on_above_the_log(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    newer = ev.ServingPlan(environment="production", model="flights", revision=9)
    async with log.producer() as producer:
        event = bus.Event(
            payload=newer, key="production/flights", subject="flights:1", source="gyrostat-registry", time=NOON
        )
        await producer.send(event)
    async with running(tmp_path, bus.MemoryBus()) as registry:
        await a_live_model(registry)
        await registry.said(ev.ServingPlan)
    async with running(tmp_path, log, ids="again") as registry:
        await eventually(lambda: revisions(log) == [9, 10])
        plan = await registry.plan()
        assert (plan.revision, plan.champion.number, plan.phase) == (10, 1, ev.ROLLOUT_PHASE_SHADOW)
        await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + DAY)
        assert (await registry.plan()).revision == 11
        audit = await registry.stub.ListAudit(pb.ListAuditRequest(model="flights"))
        assert "plan.restore" in [entry.action for entry in audit.entries]


async def test_a_rollout_survives_a_restart_in_the_middle(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with running(tmp_path, log) as registry:
        await a_live_model(registry)
        await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + DAY)
        await registry.said(ev.ServingPlan)
    async with running(tmp_path, log, ids="again") as registry:
        for day in range(2, 5):
            await registry.judge(ev.VERDICT_ADVANCE, EVENT_TIME + day * DAY)
        assert (await registry.plan()).champion.number == 2
        await registry.said(ev.ServingPlan)
        assert revisions(log) == [1, 2, 3, 4, 5, 6]


async def test_without_a_broker_everything_but_the_news_goes_on(tmp_path: Path) -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")  # type: ignore[call-arg]
    async with bus.open(nowhere) as log, running(tmp_path, log) as registry:
        await a_live_model(registry)
        assert (await registry.plan()).phase == ev.ROLLOUT_PHASE_SHADOW
        assert await registry.app.core.announcer.waiting() == 3


async def test_on_a_real_broker_verdicts_drive_a_rollout_and_every_revision_is_in_the_log(
    tmp_path: Path, fresh_kafka: KafkaSettings
) -> None:
    await bus.topics.apply(fresh_kafka)
    plans: list[Any] = []
    promotions: list[Any] = []

    async def planned(received: Any) -> None:
        plans.append(received.event.payload)

    async def promoted(received: Any) -> None:
        promotions.append(received.event)

    async with (
        bus.open(fresh_kafka) as log,
        running(tmp_path, log) as registry,
        log.producer() as monitor,
        log.read_state(ev.ServingPlan, planned),
        log.consume("monitor", [bus.Route(ev.ModelPromoted, handle=promoted)]),
    ):
        await a_live_model(registry)
        await eventually(lambda: len(plans) == 2)
        for day in range(1, 5):
            seen = plans[-1]
            said = ev.CanaryJudged(
                rollout_id=seen.rollout_id, model="flights", version=seen.judge_version,
                baseline=seen.judge_baseline, plan_revision=seen.revision, verdict=ev.VERDICT_ADVANCE,
                watermark=to_proto(EVENT_TIME + day * DAY),
            )  # fmt: skip
            event = bus.Event(payload=said, key="flights", subject="flights:2", source="gyrostat-monitor", time=NOON)
            await monitor.send(event)
            await eventually(lambda day=day: len(plans) == 2 + day)  # type: ignore[misc]
        await eventually(lambda: len(promotions) == 2)
    assert [plan.revision for plan in plans] == [1, 2, 3, 4, 5, 6]
    assert plans[-1].champion.number == 2
    assert promotions[-1].causation_id == event.id


async def test_an_open_stream_of_plans_does_not_hold_up_the_end(tmp_path: Path) -> None:
    settings = Settings(
        data={"folder": tmp_path},
        grpc_address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",  # type: ignore[arg-type]
    )
    log = bus.MemoryBus()
    async with AsyncExitStack() as outer:
        async with opened(settings, log) as app:
            channel = await outer.enter_async_context(rpc.connect(f"127.0.0.1:{app.port}"))
            stub = RegistryServiceStub(channel)
            await a_live_model(Registry(app, stub, log, FixedClock(NOON), settings))
            watch = stub.WatchPlans(pb.WatchPlansRequest(), timeout=50)
            assert (await watch.read()).plan.revision == 2
        assert await watch.read() is grpc.aio.EOF


def start(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    values = {
        "GYROSTAT_DATA__FOLDER": str(folder),
        "GYROSTAT_REGISTRY__GRPC_ADDRESS": "127.0.0.1:0",
        "GYROSTAT_REGISTRY__METRICS_ADDRESS": "127.0.0.1:0",
        "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GYROSTAT_")}
    command = [sys.executable, "-m", "gyrostat_registry"]
    return subprocess.run(
        command, env={**kept, **values, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_taken_port_and_an_unknown_setting_end_the_process_with_a_sentence(tmp_path: Path) -> None:
    unknown = await asyncio.to_thread(start, tmp_path, GYROSTAT_REGISTRY__GRPC_ADRESS="x")
    assert (unknown.returncode, "GRPC_ADDRESS" in unknown.stderr) == (2, True)
    async with rpc.serve("127.0.0.1:0", []) as other:
        address = f"127.0.0.1:{other.port}"
        taken = await asyncio.to_thread(start, tmp_path, GYROSTAT_REGISTRY__GRPC_ADDRESS=address)
    assert taken.returncode == 3
    assert address in taken.stderr.strip().splitlines()[-1]
