"""Instants as the domain counts them: whole microseconds since 1970 UTC."""

from datetime import UTC, datetime, timedelta

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """An aware time as microseconds, exact.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (at - _BEGIN) // timedelta(microseconds=1)
