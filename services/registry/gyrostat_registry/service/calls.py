"""What all calls share: the use cases, the database of stored replies, the caller, the page."""

from typing import Any

from gyrostat_common import rpc
from gyrostat_common.database import Database
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.paging import Page, page
from gyrostat_registry.usecases.cases import Cases


class Calls:
    """Parent of the servicer's parts."""

    def __init__(self, cases: Cases, database: Database) -> None:
        self._cases = cases
        self._database = database


once = rpc.once(lambda self: self._database)


def caller(request: Any) -> Caller:
    """Who calls, by the metadata of the call, and under which request id."""
    return Caller(rpc.actor(), getattr(request, "request_id", ""))


def asked(request: Any) -> Page:
    """The page that a list call asks for."""
    return page(request.page_size, request.page_token)
