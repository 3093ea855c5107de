"""Our errors as gRPC statuses and back: by kind, with the class name as `error-reason` and as google.rpc.ErrorInfo."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from gyrostat_common.errors import (
    AlreadyExists,
    GyrostatError,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
    WrongState,
    kind_of,
)

REASON = "error-reason"
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
DOMAIN = "gyrostat.dev"
LONGEST_TEXT = 1000
"""Characters. It travels in metadata, twice, of which peers take 8 to 16 kB: a longer one would arrive as
RESOURCE_EXHAUSTED.
"""

_CODES: dict[type[GyrostatError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_KINDS = {code: kind for kind, code in _CODES.items()} | {
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
}


def code_of(error: BaseException) -> grpc.StatusCode:
    """INTERNAL for what is not ours."""
    kind = kind_of(error)
    return grpc.StatusCode.INTERNAL if kind is None else _CODES[kind]


def text_of(error: BaseException) -> str:
    """What the caller is told: a text that quotes something endless is cut in the middle."""
    text = str(error)
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def trailers_of(error: GyrostatError) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata: the reason for programs, the standard details for libraries; when to come back, where the
    error says so, as google.rpc.RetryInfo and as gRPC's own pushback, which clients with a retry policy obey.
    """
    reason = type(error).__name__
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    code: int = code_of(error).value[0]
    rich = status_pb2.Status(code=code, message=text_of(error), details=[info])
    after_s = error.retry_after_s if isinstance(error, Overloaded) else None
    if after_s is None:
        return ((REASON, reason), (DETAILS, rich.SerializeToString()))
    hint = error_details_pb2.RetryInfo()
    hint.retry_delay.FromMilliseconds(max(1, round(after_s * 1e3)))
    rich.details.add().Pack(hint)
    pushback = str(hint.retry_delay.ToMilliseconds())
    return ((REASON, reason), (PUSHBACK, pushback), (DETAILS, rich.SerializeToString()))


def error_from(error: grpc.aio.AioRpcError) -> GyrostatError | None:
    """The callee's error as one of our kinds, with its message; None for a bug of the callee's."""
    kind = _KINDS.get(error.code())
    return None if kind is None else kind(error.details() or error.code().name)
