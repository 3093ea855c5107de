"""Who did what, why, and what caused it."""

from dataclasses import dataclass
from datetime import datetime

# The actor of everything that the registry decides by itself.
REGISTRY = "registry"


@dataclass(frozen=True)
class Caller:
    """On whose behalf a use case runs. `causation_id` is the parent event's id; `correlation_id` names the loop."""

    actor: str
    request_id: str = ""
    correlation_id: str = ""
    causation_id: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """One decision or call that changed something. `number` is 0 until the store gave one; `detail_json` is JSON."""

    at: datetime
    actor: str
    action: str
    subject: str
    model: str = ""
    reason: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    detail_json: str = "{}"
    request_id: str = ""
    number: int = 0
