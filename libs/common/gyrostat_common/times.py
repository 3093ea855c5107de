"""Times between their four shapes: datetime (aware, UTC), microseconds since 1970, protobuf Timestamp, RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat_common.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LEAST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MOST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def to_us(at: datetime) -> int:
    """Microseconds since 1970, exact; refuses a naive time."""
    return (at - _EPOCH) // _MICROSECOND


def checked_us(us: int) -> int:
    """Refuses what lies outside the years 1 to 9999: a number off the wire can be any."""
    if not _LEAST_US <= us <= _MOST_US:
        raise InvalidInput(f"{us} microseconds since 1970 are no time between the years 1 and 9999")
    return us


def from_us(us: int) -> datetime:
    """Refuses what lies outside the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=checked_us(us))


def to_proto(at: datetime | None) -> Timestamp | None:
    """None stays None, so that `Message(field=to_proto(x))` leaves an absent field absent."""
    if at is None:
        return None
    seconds, micros = divmod(to_us(at), 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def from_proto(stamp: Timestamp | None) -> datetime | None:
    """None for None and for the zero Timestamp, which is how an absent field reads."""
    if stamp is None or (stamp.seconds == 0 and stamp.nanos == 0):
        return None
    return from_us(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


def parse_rfc3339(text: str) -> datetime:
    """Refuses a time without an offset.

    >>> parse_rfc3339("2013-03-01T12:00:00Z").isoformat()
    '2013-03-01T12:00:00+00:00'
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text[:80]!r} is not an RFC 3339 time such as 2013-03-01T12:00:00Z") from error
    if at.tzinfo is None:
        raise InvalidInput(f"{text!r} has no offset from UTC; write 2013-03-01T12:00:00Z or …+01:00")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"{text!r} is no time between the years 1 and 9999 in UTC") from error


def to_rfc3339(at: datetime) -> str:
    """
    >>> to_rfc3339(from_us(0))
    '1970-01-01T00:00:00Z'
    """
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
