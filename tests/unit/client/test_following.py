"""Who serves a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_client.following import followed, following
from gyrostat_common.times import to_proto

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAN = pb.ServingPlan(model="fraud", revision=5)


def replica(name: str, revision: int, *, silent_s: float = 1, reason: str = "", now: datetime = NOW) -> pb.PlanApplied:
    failed = [pb.AppliedVersion(model="fraud", version=2, revision=5, loaded=False, reason=reason)] if reason else []
    at = to_proto(now - timedelta(seconds=silent_s))
    return pb.PlanApplied(replica=name, at=at, revisions={"fraud": revision} if revision else {}, versions=failed)


def test_who_serves_the_plan_and_who_does_not_is_named_with_the_reason():
    found = following(
        PLAN,
        [
            replica("a", 5),
            replica("b", 4, reason="the digest differs"),
            replica("c", 0),
            replica("d", 5, silent_s=45),
            replica("gone", 1, silent_s=3600),
            replica("ahead", 6),
        ],
        NOW,
    )
    assert found.lines() == [
        "served by a, ahead",
        "not by b: still at plan revision 4; fraud:2 is not loaded: the digest differs",
        "not by c: it has no plan of the model yet",
        "not by d: silent for 45 s",
    ]


def test_without_a_replica_nobody_serves_it():
    assert following(PLAN, [], NOW).lines() == ["no replica serves it yet"]


async def test_it_waits_for_those_that_live_and_no_longer():
    now = datetime.now(UTC)
    looks = [[replica("a", 4, now=now), replica("b", 5, now=now)], [replica("a", 5, now=now), replica("b", 5, now=now)]]

    async def replicas() -> Sequence[pb.PlanApplied]:
        return looks.pop(0)

    async with asyncio.timeout(5):
        found = await followed(PLAN, replicas, within_s=60)
    assert (found.serving, found.behind, looks) == (("a", "b"), {}, [])


async def test_it_does_not_wait_for_what_nobody_can_bring():
    async def replicas() -> Sequence[pb.PlanApplied]:
        return []

    async with asyncio.timeout(5):
        assert (await followed(PLAN, replicas, within_s=60)).lines() == ["no replica serves it yet"]
