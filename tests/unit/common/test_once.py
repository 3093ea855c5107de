"""Stored replies, cut at every place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gyrostat.registry.v1 import model_pb2
from gyrostat.registry.v1 import registry_pb2 as pb
from gyrostat_common import database, marks, rpc
from gyrostat_common.clock import FixedClock
from gyrostat_common.database import Database
from gyrostat_common.errors import AlreadyExists, InvalidInput
from gyrostat_common.rpc import replies
from gyrostat_common.tables import replies as table
from support.events import NOON

clock = FixedClock(NOON)


class Servicer:
    """Makes a model as a mark; fails when told to."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.calls = 0
        self.error: Exception | None = None

    @rpc.once(lambda self: self.db, clock)
    async def CreateModel(self, request: Any, context: Any) -> Any:
        self.calls += 1
        async with self.db.transaction() as tx:
            await marks.advance(tx, "models", {request.name: self.calls})
        if self.error:
            raise self.error
        return pb.CreateModelResponse(model=model_pb2.Model(name=request.name))

    @rpc.once(lambda self: self.db, clock)
    async def ArchiveModelVersion(self, request: Any, context: Any) -> Any:
        return pb.ArchiveModelVersionResponse()


@pytest.fixture
async def servicer(tmp_path: Path) -> AsyncIterator[Servicer]:
    async with database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db") as db:
        yield Servicer(db)


def a_request(name: str = "flights", request_id: str = "r-1") -> Any:
    return pb.CreateModelRequest(name=name, request_id=request_id)


async def models(db: Database) -> dict[str, int]:
    async with db.reading() as tx:
        return await marks.high_waters(tx, "models")


async def test_a_repeat_has_one_effect_and_the_same_reply(servicer: Servicer) -> None:
    first = await servicer.CreateModel(a_request(), None)
    again = await servicer.CreateModel(a_request(), None)
    assert first == again
    assert (servicer.calls, await models(servicer.db)) == (1, {"flights": 1})


async def test_another_id_is_another_call(servicer: Servicer) -> None:
    await servicer.CreateModel(a_request(), None)
    await servicer.CreateModel(a_request(request_id="r-2"), None)
    assert servicer.calls == 2


async def test_without_an_id_there_is_only_the_transaction(servicer: Servicer) -> None:
    servicer.error = AlreadyExists("there")
    with pytest.raises(AlreadyExists):
        await servicer.CreateModel(a_request(request_id=""), None)
    assert await models(servicer.db) == {}
    servicer.error = None
    await servicer.CreateModel(a_request(request_id=""), None)
    await servicer.CreateModel(a_request(request_id=""), None)
    assert servicer.calls == 3


async def test_the_same_id_with_another_request_is_refused(servicer: Servicer) -> None:
    await servicer.CreateModel(a_request(), None)
    with pytest.raises(InvalidInput, match="r-1 was used for another CreateModel"):
        await servicer.CreateModel(a_request(name="trains"), None)
    assert await models(servicer.db) == {"flights": 1}


async def test_the_same_id_for_another_method_is_another_call(servicer: Servicer) -> None:
    await servicer.CreateModel(a_request(), None)
    reply = await servicer.ArchiveModelVersion(pb.ArchiveModelVersionRequest(request_id="r-1"), None)
    assert isinstance(reply, pb.ArchiveModelVersionResponse)


async def test_a_failure_stores_nothing_and_may_be_repeated(servicer: Servicer) -> None:
    servicer.error = AlreadyExists("there")
    with pytest.raises(AlreadyExists):
        await servicer.CreateModel(a_request(), None)
    assert await models(servicer.db) == {}
    servicer.error = None
    await servicer.CreateModel(a_request(), None)
    assert await models(servicer.db) == {"flights": 2}


async def test_an_endless_id_is_refused(servicer: Servicer) -> None:
    with pytest.raises(InvalidInput, match="request_id"):
        await servicer.CreateModel(a_request(request_id="x" * 201), None)


async def test_replies_are_forgotten_after_a_week(servicer: Servicer) -> None:
    await servicer.CreateModel(a_request(), None)
    async with servicer.db.transaction() as tx:
        await replies.prune(tx, clock.now() + timedelta(days=6))
        assert (await tx.execute(select(table))).first() is not None
        await replies.prune(tx, clock.now() + timedelta(days=8))
        assert (await tx.execute(select(table))).first() is None
