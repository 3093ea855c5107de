"""A service that says back what it is told, for proofs of the fronts: `model_name` says how a call is answered.

    echo      the tensors come back as they are
    size      `bytes` of them come back
    metadata  the call's metadata come back as parameters, those named `echo-…` as trailing metadata too
    refused   InvalidInput; `code` aborts with that code, a long text and trailing metadata; `bug` raises KeyError
    status    set_code and set_details with the number in `code`, and no exception
    left      how many milliseconds are left, -1 without a deadline
    held      waits until `Echo.release` is set
    seen      how many calls were held, and how many of them were cancelled

A stream answers each request as a call does; "size" with `replies` answers that many times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from gyrostat_common import oip, rpc
from gyrostat_common.errors import InvalidInput
from gyrostat_common.rpc.status import code_of, text_of, trailers_of

NAME = oip.SERVICE
BYTES = "test.Bytes"
ABORTED_TEXT = "100 % näher, in zwei\nZeilen\t☂"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class NotToBeEchoed(InvalidInput):
    """The model is named "refused"."""


class Echo:
    """The Open Inference Protocol without inference."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.held = self.cancelled = 0
        self._answers: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
            "echo": self._echo,
            "size": self._size,
            "metadata": self._metadata,
            "refused": self._refused,
            "code": self._code,
            "bug": self._bug,
            "status": self._status,
            "left": self._left,
            "held": self._held,
            "seen": self._seen,
        }

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return oip.ServerLiveResponse(live=True)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return oip.ServerMetadataResponse(name="echo", version="1")

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        return await self._answers[request.model_name](request, context)

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            for _ in range(request.parameters["replies"].int64_param or 1):
                answer = await self._answers[request.model_name](request, context)
                yield oip.ModelStreamInferResponse(infer_response=answer)

    async def _echo(self, request: Any, context: Any) -> Any:
        return _echoed(request)

    async def _size(self, request: Any, context: Any) -> Any:
        return _sized(request)

    async def _metadata(self, request: Any, context: Any) -> Any:
        reply = _reply(request)
        given = [(str(key), value) for key, value in context.invocation_metadata()]
        for key, value in given:
            reply.parameters[key].string_param = value.hex() if isinstance(value, bytes) else value
        context.set_trailing_metadata(tuple(pair for pair in given if pair[0].startswith("echo-")))
        return reply

    async def _refused(self, request: Any, context: Any) -> Any:
        raise NotToBeEchoed(f"{request.id}: not to be echoed")

    async def _code(self, request: Any, context: Any) -> Any:
        code = _CODES[request.parameters["code"].int64_param]
        await context.abort(code, ABORTED_TEXT, (("echo-word", "why"), ("echo-bytes-bin", bytes(range(256)))))

    async def _bug(self, request: Any, context: Any) -> Any:
        raise KeyError("secret")

    async def _status(self, request: Any, context: Any) -> Any:
        context.set_code(_CODES[request.parameters["code"].int64_param])
        context.set_details("as set")
        return _reply(request)

    async def _left(self, request: Any, context: Any) -> Any:
        left = context.time_remaining()
        reply = _reply(request)
        reply.parameters["left_ms"].int64_param = -1 if left is None else int(left * 1e3)
        return reply

    async def _held(self, request: Any, context: Any) -> Any:
        self.held += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return _reply(request)

    async def _seen(self, request: Any, context: Any) -> Any:
        reply = _reply(request)
        reply.parameters["held"].int64_param = self.held
        reply.parameters["cancelled"].int64_param = self.cancelled
        reply.parameters["peer"].string_param = context.peer()
        return reply


LANES = (f"/{oip.SERVICE}/ModelInfer", f"/{BYTES}/One")


def lane(call: Any) -> bool:
    """The short way of our own front, for what needs no handler: bytes, "echo", "size", "refused"."""
    if call.path == LANES[1]:
        call.reply(call.message)
        return True
    try:
        request = oip.ModelInferRequest.FromString(call.message)
    except DecodeError:
        return False
    answers = {"echo": _echoed, "size": _sized}
    if request.model_name == "refused":
        error = NotToBeEchoed(f"{request.id}: not to be echoed")
        call.fail(code_of(error).value[0], text_of(error), trailers_of(error))
    elif request.model_name in answers:
        call.reply(answers[request.model_name](request).SerializeToString())
    else:
        return False
    return True


def _echoed(request: Any) -> Any:
    reply = _reply(request)
    for tensor in request.inputs:
        reply.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, contents=tensor.contents)
    reply.raw_output_contents.extend(request.raw_input_contents)
    return reply


def _sized(request: Any) -> Any:
    size = request.parameters["bytes"].int64_param
    reply = _reply(request)
    reply.outputs.add(name="x", datatype="UINT8", shape=[size])
    reply.raw_output_contents.append(bytes(size))
    return reply


def _reply(request: Any) -> Any:
    return oip.ModelInferResponse(model_name=request.model_name, id=request.id)


def a_request(model: str = "echo", **numbers: int) -> Any:
    """A request for one of the answers above; numbers are its parameters."""
    request = oip.ModelInferRequest(model_name=model, id="one")
    for name, number in numbers.items():
        request.parameters[name].int64_param = number
    return request


def an_echo(content: bytes) -> Any:
    """A request whose one tensor is these bytes."""
    request = a_request("echo")
    request.inputs.add(name="x", datatype="UINT8", shape=[len(content)])
    request.raw_input_contents.append(content)
    return request


class Bytes:
    """Calls of all four kinds whose messages are plain bytes."""

    async def One(self, request: bytes, context: Any) -> bytes:
        return request

    async def Join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def Split(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for at in range(len(request)):
            yield request[at : at + 1]

    async def Each(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def Written(self, request: bytes, context: Any) -> None:
        """Split, by context.write."""
        for at in range(len(request)):
            await context.write(request[at : at + 1])


def _add_bytes(servicer: Bytes, server: Any) -> None:
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(servicer.One),
        "Join": grpc.stream_unary_rpc_method_handler(servicer.Join),
        "Split": grpc.unary_stream_rpc_method_handler(servicer.Split),
        "Each": grpc.stream_stream_rpc_method_handler(servicer.Each),
        "Written": grpc.unary_stream_rpc_method_handler(servicer.Written),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(BYTES, handlers),))


def services(echo: Echo) -> list[rpc.Service]:
    """Both, as `rpc.serve` takes them."""
    return [rpc.Service(echo, oip.add_servicer, NAME), rpc.Service(Bytes(), _add_bytes, BYTES)]
