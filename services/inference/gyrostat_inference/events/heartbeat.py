"""plan.applied: which revision and versions this replica serves, and the books of its spools."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common.bus import Event
from gyrostat_common.times import to_proto
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.live import Applied
from gyrostat_inference.events.frames import SOURCE, books_message


def heartbeat(
    replica: str,
    environment: str,
    at: datetime,
    applied: Iterable[Applied],
    revisions: Mapping[str, int],
    books: Iterable[Books],
) -> Event:
    """The event; its subject is the environment."""
    message = pb.PlanApplied(
        replica=replica,
        environment=environment,
        at=to_proto(at),
        versions=[
            pb.AppliedVersion(model=a.model, version=a.version, revision=a.revision, loaded=a.loaded, reason=a.reason)
            for a in applied
        ],
        revisions=revisions,
        books=[books_message(each) for each in books],
    )
    return Event(payload=message, key=replica, subject=environment, source=SOURCE, time=at)
