"""What can go wrong in a call, in the six kinds of `gyrostat_common.errors`, with the address that was tried.

A caller of the SDK catches NotFound, WrongState and so on, never grpc.RpcError. The service's own error class is in the
error's notes.
"""

from typing import Any

import grpc

from gyrostat_common.errors import (
    AlreadyExists,
    GyrostatError,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
    WrongState,
)


class BadAddress(InvalidInput):
    """The text is no address."""


class Unreachable(Unavailable):
    """Nobody answered at the address."""

    def __init__(self, service: str, address: str, detail: str = "") -> None:
        super().__init__(f"{service} does not answer at {address}" + (f" ({detail})" if detail else ""))
        self.service = service
        self.address = address


class TimedOut(Unreachable):
    """The service did not answer before the deadline."""


class ServiceFailed(GyrostatError):
    """The service itself failed; its log says more."""


_KINDS: dict[grpc.StatusCode, type[GyrostatError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.ABORTED: WrongState,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
}


def translate(error: Any, service: str, address: str) -> GyrostatError:
    """The error of a call in words of the domain; its note carries the service's own error class."""
    code, details = error.code(), error.details() or ""
    translated: GyrostatError
    if code == grpc.StatusCode.UNAVAILABLE:
        translated = _unavailable(service, address, details)
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        translated = TimedOut(service, address, "no answer before the deadline")
    elif code in _KINDS:
        translated = _KINDS[code](details or str(code))
    elif code == grpc.StatusCode.UNIMPLEMENTED:
        translated = WrongState(f"what runs at {address} does not know this call; is it the {service}?")
    else:
        translated = ServiceFailed(f"{service} at {address} failed: {details or code}; its log says more")
    if reason := _reason(error):
        translated.add_note(f"error-reason: {reason}")
    return translated


def _unavailable(service: str, address: str, details: str) -> GyrostatError:
    """Nobody there, or somebody there who says that it cannot now."""
    nobody = (
        "failed to connect",
        "connection refused",
        "dns resolution",
        "name resolution",
        "errors resolving",
        "socket closed",
        "connection reset",
        "endpoint",
        "timeout",
        "timed out",
    )
    if not details or any(words in details.lower() for words in nobody):
        return Unreachable(service, address)
    return Unavailable(f"{service} at {address}: {details}")


def _reason(error: Any) -> str:
    """The trailing metadata `error-reason`: the class name of the service's error, or empty."""
    trailing = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailing or ():
        if key == "error-reason":
            return value if isinstance(value, str) else value.decode()
    return ""
