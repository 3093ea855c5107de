"""Pages of a list: how many rows, and where the next page goes on."""

import base64
import binascii
from dataclasses import dataclass
from typing import Generic, TypeVar

from gyrostat_common.errors import InvalidInput
from gyrostat_registry.domain.errors import BadPageToken

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """At most `size` rows after the row that `after` names ("" = from the beginning)."""

    size: int = DEFAULT_SIZE
    after: str = ""

    @property
    def after_number(self) -> int | None:
        """`after` as a number, for lists ordered by one."""
        if not self.after:
            return None
        if not self.after.isascii() or not self.after.isdigit() or len(self.after) > 18:
            raise BadPageToken("page_token is not one that this list gave out")
        return int(self.after)


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One page of rows and the key of its last row; "" on the last page."""

    rows: tuple[T, ...]
    last: str = ""


def page(size: int, token: str) -> Page:
    """The page that a request asks for. InvalidInput for a size outside 0 to 1,000, BadPageToken for a foreign one."""
    if not 0 <= size <= LARGEST_SIZE:
        raise InvalidInput(f"page_size {size}: 1 to {LARGEST_SIZE}, or 0 for {DEFAULT_SIZE}")
    return Page(size or DEFAULT_SIZE, _opened(token))


def token(last: str) -> str:
    """The token of the page after the row `last`; "" stays "".

    >>> page(0, token("42")).after
    '42'
    """
    return base64.urlsafe_b64encode(b"p1:" + last.encode()).decode() if last else ""


def _opened(given: str) -> str:
    if not given:
        return ""
    try:
        raw = base64.urlsafe_b64decode(given.encode("ascii")).decode()
    except (ValueError, binascii.Error) as exc:
        raise BadPageToken("page_token is not one that this list gave out") from exc
    if not raw.startswith("p1:"):
        raise BadPageToken("page_token is not one that this list gave out")
    return raw[3:]
