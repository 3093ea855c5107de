"""When a replica is ready."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.replica import Readiness
from support.live_models import a_plan, live


async def test_a_plan_that_cannot_be_read_takes_no_replica_away_that_has_models():
    models, state = LiveModels(), SimpleNamespace(problem="serving.plan/0 offset 7", caught_up=asyncio.Event())
    idle = SimpleNamespace(restored=0, busy=False)
    state.caught_up.set()
    seconds = [0.0]
    producer = SimpleNamespace(problem=None)
    readiness = Readiness(models, cast(Any, idle), cast(Any, state), cast(Any, producer), lambda: seconds[0])
    assert readiness.reason() == "plans cannot be read: serving.plan/0 offset 7"
    seconds[0] = 21.0
    assert readiness.reason() is None  # nobody has mended it: it is no plan of ours
    state.caught_up.clear()
    assert readiness.reason() is not None  # nobody can know
    models.swap(live(a_plan()))
    assert readiness.reason() is None


async def test_a_start_is_over_when_every_plan_is_in_force_and_a_new_plan_is_no_second_start():
    models, apply_plan = LiveModels(), SimpleNamespace(restored=2, busy=True)
    state = SimpleNamespace(problem=None, caught_up=asyncio.Event())
    state.caught_up.set()
    producer = SimpleNamespace(problem=None)
    readiness = Readiness(models, cast(Any, apply_plan), cast(Any, state), cast(Any, producer))
    models.swap(live(a_plan()))
    assert readiness.reason() == "the first plans are being put in force"
    apply_plan.busy = False
    assert readiness.reason() is None
    apply_plan.busy = True
    assert readiness.reason() is None
