"""What all parts of the store share: the connection of one transaction, and how rows become a page."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_registry.domain.paging import Listed, Page

T = TypeVar("T")


class OnConnection:
    """Rows seen through one transaction."""

    def __init__(self, tx: AsyncConnection) -> None:
        self._tx = tx


def listed(rows: Sequence[Any], page: Page, read: Callable[[Any], T], key: Callable[[Any], str]) -> Listed[T]:
    """One page out of rows that were asked for with one too many: the extra one says that there is a next page."""
    shown = rows[: page.size]
    last = key(shown[-1]) if len(rows) > page.size else ""
    return Listed(tuple(read(row) for row in shown), last)
