"""What lies in `serving.plan` and cannot be read, and what is done about it."""

from collections.abc import Mapping
from dataclasses import dataclass

Key = tuple[str, str]
"""(environment, model)"""
REPUBLISH, REMOVE = "republish", "remove"


@dataclass(frozen=True)
class Unreadable:
    """A key of the topic whose newest record cannot be read. `found` says which record, and why."""

    key: bytes
    found: str


@dataclass(frozen=True)
class Mending:
    """What is done about one key: `republish` our plan at `revision`, or `remove` a key of which we have no plan."""

    key: bytes
    action: str
    revision: int
    found: str


def plan_key(key: bytes) -> Key | None:
    """The environment and model of a record key; None when it is none of ours.

    >>> plan_key(b"production/fraud")
    ('production', 'fraud')
    >>> plan_key(b"fraud") is plan_key(b"\\xff/x") is None
    True
    """
    try:
        environment, slash, model = key.decode().partition("/")
    except UnicodeDecodeError:
        return None
    return (environment, model) if slash else None


def shown(key: bytes) -> str:
    """A key for people; bytes that are no text are escaped."""
    return key.decode(errors="backslashreplace")


def mending_of(unreadable: Unreadable, ours: Mapping[Key, int]) -> Mending:
    """`ours` is the revision in force by key."""
    known = plan_key(unreadable.key)
    revision = ours.get(known, 0) if known else 0
    return Mending(unreadable.key, REPUBLISH if revision else REMOVE, revision, unreadable.found)
