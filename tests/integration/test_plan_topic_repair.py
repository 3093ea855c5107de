"""A registry whose topic holds what nobody can read: its own keys it mends by itself, others when asked to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from gyrostat.events.v1 import events_pb2 as ev
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_common import bus
from support.registry import Registry, running
from support.waiting import eventually

OWN, FOREIGN, NO_TEXT = b"production/flights", b"somebody", b"\xff\xfe"


async def poison(log: Any, key: bytes) -> None:
    await log.append(bus.codec.Outgoing(topic="serving.plan", key=key, value=b"x", headers=()))


def kept(log: bus.MemoryBus) -> dict[bytes | None, bytes | None]:
    """What compaction keeps."""
    return {record.key: record.value for record in log.records("serving.plan")}


async def actions(registry: Registry) -> list[str]:
    found = await registry.stub.ListAudit(pb.ListAuditRequest())
    return [entry.action for entry in found.entries]


async def test_a_plan_that_somebody_wrote_over_goes_out_again_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        await registry.model()
        await registry.version()
        await registry.said(ev.ServingPlan)
        good = kept(registry.log)[OWN]
        await poison(registry.log, OWN)
        await eventually(lambda: kept(registry.log)[OWN] == good)
        assert "plan.republish" in await actions(registry)


async def test_at_the_start_too_and_again_only_after_a_minute(tmp_path: Path) -> None:
    log = bus.MemoryBus()
    async with running(tmp_path, log) as registry:
        await registry.model()
        await registry.version()
        await registry.said(ev.ServingPlan)
    good = kept(log)[OWN]
    await poison(log, OWN)
    async with running(tmp_path, log, ids="again") as registry:
        await eventually(lambda: kept(log)[OWN] == good)
        repair, mirror = registry.app.core.repair, {("production", "flights"): 1}
        await poison(log, OWN)
        assert await repair.compare(mirror, mirror, sure=True) == 0
        registry.clock.advance(timedelta(minutes=1))
        await eventually(lambda: kept(log)[OWN] == good)


async def test_a_key_of_nobody_is_taken_away_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        await poison(registry.log, FOREIGN)
        await poison(registry.log, NO_TEXT)

        async def asked(**changes: Any) -> list[tuple[bytes, str]]:
            reply = await registry.stub.RepairPlanTopic(pb.RepairPlanTopicRequest(**changes))
            return [(one.key, one.action) for one in reply.repairs]

        both = [(FOREIGN, "remove"), (NO_TEXT, "remove")]

        async def would(expected: list[tuple[bytes, str]]) -> bool:
            return await asked(dry_run=True) == expected

        await eventually(lambda: would(both))
        assert await asked(key=FOREIGN, reason="a stray script", request_id="one") == both[:1]
        await eventually(lambda: kept(registry.log) == {FOREIGN: None, NO_TEXT: b"x"})
        assert await asked() == both[1:]
        await eventually(lambda: kept(registry.log)[NO_TEXT] is None)
        assert (await actions(registry)).count("RepairPlanTopic") == 2
        await eventually(lambda: would([]))


async def test_a_key_by_name_is_our_plan_again_or_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        await registry.model()
        await registry.version()
        [one] = (await registry.stub.RepairPlanTopic(pb.RepairPlanTopicRequest(key=OWN))).repairs
        assert (one.action, one.revision) == ("republish", 1)
        await registry.said(ev.ServingPlan)
        assert len(registry.log.events(ev.ServingPlan)) == 2
        with pytest.raises(grpc.aio.AioRpcError, match=r"serving\.plan holds no key production/nobody"):
            await registry.stub.RepairPlanTopic(pb.RepairPlanTopicRequest(key=b"production/nobody"))
