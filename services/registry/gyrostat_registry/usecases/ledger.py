"""Writes the audit log: one line per call that changed something, in the transaction of the change."""

import json
from collections.abc import Mapping

from gyrostat_common.clock import Clock
from gyrostat_registry.domain.audit import AuditEntry, Caller
from gyrostat_registry.usecases.ports import Records

_LONGEST_REASON = 4_096


class Ledger:
    """Who did what, when by the wall clock, and why."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def note(
        self,
        tx: Records,
        caller: Caller,
        action: str,
        subject: str,
        *,
        model: str = "",
        reason: str = "",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """One line. `detail` is evidence or arguments that JSON can hold."""
        entry = AuditEntry(
            at=self._clock.now(), actor=caller.actor, action=action, subject=subject, model=model, reason=_kept(reason),
            correlation_id=caller.correlation_id, causation_id=caller.causation_id,
            detail_json=json.dumps(dict(detail or {}), default=str), request_id=caller.request_id,
        )  # fmt: skip
        await tx.add_audit(entry)


def _kept(reason: str) -> str:
    """PostgreSQL keeps no NUL in a text, and nobody reads more than a page."""
    return reason.replace("\x00", "")[:_LONGEST_REASON]
