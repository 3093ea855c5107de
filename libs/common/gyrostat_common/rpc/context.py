"""What a call carries beside its message: who calls, how long there is, which trace it belongs to."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

ACTOR = "gyrostat-actor"
ANONYMOUS = "anonymous"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

current_actor: ContextVar[str] = ContextVar("gyrostat_actor", default=ANONYMOUS)
deadline: ContextVar[float | None] = ContextVar("gyrostat_deadline", default=None)
"""Loop time by which the call that we are in must be answered."""


def actor() -> str:
    """Who made the call that we are in, by its own account; "anonymous" without one."""
    return current_actor.get()


def answer_by() -> float | None:
    """Loop time by which the call that we are in must be answered; None outside a call, or when it has no deadline."""
    return deadline.get()


def remaining_s() -> float | None:
    """Seconds until the call that we are in must be answered; None outside a call."""
    at = deadline.get()
    return None if at is None else at - asyncio.get_running_loop().time()
