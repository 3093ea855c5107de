"""Requests that are no plain gRPC request: the answer that HTTP/2, HTTP or gRPC has for each."""

from __future__ import annotations

from gyrostat_front import hpack
from gyrostat_front.call import DEADLINE_EXCEEDED, INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, Call
from gyrostat_front.frames import PROTOCOL_ERROR
from gyrostat_front.headers import METHOD, NOT_GRPC
from gyrostat_front.messages import PACKINGS

_STATUS = hpack.field(b"grpc-status", b"13") + hpack.field(b"grpc-message", b"not a gRPC request")
_TEXT = hpack.field(b"content-type", b"text/plain")


def answer_oddity(call: Call) -> bool:
    """Answers it when it cannot become a call: what is no gRPC at all when it has come whole. False: it can."""
    headers = call.headers
    if headers.odd in NOT_GRPC and not call.ended and not headers.malformed():
        return True
    if headers.malformed():
        call.reset(PROTOCOL_ERROR)
    elif headers.large:
        call.fail(RESOURCE_EXHAUSTED, "the request's metadata is larger than we take")
    elif headers.odd == "type":
        _plain(call, b"415", "gRPC is spoken here: content-type must be application/grpc\n")
    elif headers.kinds[METHOD] != b"POST":
        _plain(call, b"405", "gRPC is spoken here: the method must be POST\n")
    elif headers.odd == "encoding" and headers.encoding not in PACKINGS:
        call.fail(
            UNIMPLEMENTED,
            f"grpc-encoding {headers.encoding.decode('latin-1')} is not supported",
            (("grpc-accept-encoding", "identity,deflate,gzip"),),
        )
    elif headers.odd == "binary":
        call.fail(INTERNAL, "a -bin value is not base64")
    elif headers.timeout_s is not None and headers.timeout_s <= 0:
        if headers.timeout_s:
            call.fail(INTERNAL, "grpc-timeout is malformed")
        else:
            call.fail(DEADLINE_EXCEEDED, "Deadline Exceeded")
    else:
        return False
    return True


def _plain(call: Call, status: bytes, text: str) -> None:
    """An answer for people: they have called with a browser or curl."""
    call.sender.head(call, b"\x08\x03" + status + _TEXT)
    call.sender.data(call, text.encode())
    call.sender.end(call, _STATUS)
