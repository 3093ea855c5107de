"""The six kinds of error. Every service subclasses them in words of its domain; common maps the kind, never the class,
to a gRPC status (rpc) and to a verdict on a record (bus). Anything that is not one of them is a bug of ours.
"""

from __future__ import annotations

import re


class GyrostatError(Exception):
    """Root of the tree. `str(error)` is the message for the caller: whole sentences, names, what was expected."""

    @property
    def reason(self) -> str:
        """The class name in UPPER_SNAKE_CASE, e.g. VERSION_ARCHIVED: what programs compare."""
        return reason_of(type(self))


class InvalidInput(GyrostatError):
    """What was asked can never be right, whatever the state."""


class NotFound(GyrostatError):
    """The thing named does not exist."""


class AlreadyExists(GyrostatError):
    """The thing is there already; for an event that means: done."""


class WrongState(GyrostatError):
    """Right in itself, but not now: the state forbids it."""


class Overloaded(GyrostatError):
    """No room; come back later, after `retry_after_s` seconds where somebody can tell."""

    def __init__(self, text: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Unavailable(GyrostatError):
    """Something that we need does not answer; a repeat may succeed."""


class DeadlineOver(TimeoutError):
    """The caller's own deadline leaves no time for an answer. Unlike any other TimeoutError's, its text is for them."""


KINDS: tuple[type[GyrostatError], ...] = (InvalidInput, NotFound, AlreadyExists, WrongState, Overloaded, Unavailable)


def kind_of(error: BaseException) -> type[GyrostatError] | None:
    """The first of the six kinds in the error's ancestry, or None for anything that is not ours."""
    for cls in type(error).__mro__:
        if cls in KINDS:
            return cls
    return None


def reason_of(cls: type) -> str:
    """
    >>> reason_of(WrongState)
    'WRONG_STATE'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()


class CannotStart(Exception):
    """The process cannot begin its work. The message says what is in the way and what to do."""
