"""The smallest set of Kafka ACLs for each service, read from the producers and consumers that the topics name.

docs/security.md shows it and a test holds a broker to it. Whoever can write `serving.plan` owns the fleet: only the
registry may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gyrostat_common.bus.contract import GROUPS, dead_letters, events


@dataclass(frozen=True, order=True)
class Right:
    """One ALLOW entry; WRITE and READ imply DESCRIBE. `prefixed` covers every name that begins so."""

    resource: Literal["topic", "group"]
    name: str
    operation: Literal["READ", "WRITE"]
    prefixed: bool = False


def rights(service: str) -> tuple[Right, ...]:
    """What `service` needs, names without the site's prefix. It reads back the state that it writes, to compare."""
    found: set[Right] = set()
    for topic in events():
        if service in topic.producers:
            found.add(Right("topic", topic.name, "WRITE"))
        if service in topic.consumers or (topic.compacted and service in topic.producers):
            found.add(Right("topic", topic.name, "READ"))
    for group in GROUPS:
        if group == service or group.startswith(f"{service}."):
            found.add(Right("group", service, "READ", prefixed=True))
            found.add(Right("topic", dead_letters(group).name, "WRITE"))
    return tuple(sorted(found))
