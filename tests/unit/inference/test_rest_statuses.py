"""How a call of the REST twin ends: gRPC's statuses as HTTP's, with the reason and the hint when to come back."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from gyrostat_common.errors import AlreadyExists, WrongState
from gyrostat_common.health import Health
from gyrostat_inference.domain.errors import ModelUnknown, QueueFull, VersionNotLoaded, WrongTensor
from gyrostat_inference.service.http import Asked, Replied
from gyrostat_inference.service.rest import Rest

INFER = Asked("POST", ("v2", "models", "m", "infer"), {}, b"{}")


class Raising:
    """A service whose every method raises the same."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def method(request: Any, context: Any) -> Any:
            await asyncio.sleep(0)
            raise self._error

        return method


async def ended(error: Exception, asked: Asked = INFER) -> Replied:
    health = Health()
    rest = Rest(health)
    async with rest.serving(cast(Any, Raising(error))):
        health.opened()
        return await rest.answer(asked)


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (WrongTensor("no"), 400, {"error-reason": "WrongTensor"}),
        (ModelUnknown("no"), 404, {"error-reason": "ModelUnknown"}),
        (AlreadyExists("no"), 409, {"error-reason": "AlreadyExists"}),
        (WrongState("no"), 409, {"error-reason": "WrongState"}),
        (QueueFull("no", retry_after_s=1.2), 429, {"error-reason": "QueueFull", "Retry-After": "2"}),
        (QueueFull("no"), 429, {"error-reason": "QueueFull"}),
        (VersionNotLoaded("no"), 503, {"error-reason": "VersionNotLoaded"}),
    ],
)
async def test_a_kind_of_error_has_its_status(error: Exception, status: int, headers: dict[str, str]) -> None:
    reply = await ended(error)
    assert (reply.status, json.loads(reply.body), reply.headers) == (status, {"error": "no"}, headers)


async def test_a_fault_of_ours_says_no_more() -> None:
    reply = await ended(ZeroDivisionError("secret"))
    assert (reply.status, json.loads(reply.body)) == (500, {"error": "internal error"})


async def test_a_deadline_that_has_passed_has_its_status() -> None:
    reply = await ended(TimeoutError())
    assert reply.status == 504


async def test_before_and_after_its_time_only_health_is_answered() -> None:
    health = Health()
    rest = Rest(health)
    live, ready = (Asked("GET", ("v2", "health", word), {}) for word in ("live", "ready"))
    assert (await rest.answer(live)).status == 200
    for asked in (ready, INFER):
        reply = await rest.answer(asked)
        assert (reply.status, "it is starting" in reply.body.decode()) == (503, True)
    async with rest.serving(cast(Any, Raising(WrongTensor("no")))):
        assert (await rest.answer(INFER)).status == 503
        health.opened()
        assert (await rest.answer(INFER)).status == 400
        health.closing()
        reply = await rest.answer(INFER)
        assert (reply.status, "it is stopping" in reply.body.decode()) == (503, True)
    assert (await rest.answer(live)).status == 200
