"""When a replica is ready."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gyrostat_inference.app import Readiness
from gyrostat_inference.domain.live import LiveModels
from support.live_models import a_plan, live


async def test_a_plan_that_cannot_be_read_takes_no_replica_away_that_has_models():
    models, state = LiveModels(), SimpleNamespace(problem="serving.plan/0 offset 7", caught_up=asyncio.Event())
    idle = SimpleNamespace(restored=0, busy=False)
    readiness = Readiness(models, cast(Any, idle), cast(Any, state), cast(Any, SimpleNamespace(problem=None)))
    assert readiness.reason() == "plans cannot be read: serving.plan/0 offset 7"
    models.swap(live(a_plan()))
    assert readiness.reason() is None
