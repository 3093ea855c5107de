"""ModelInfer without a task: bytes in, bytes out, for a front that hands calls over as it reads them.

The same decoding, use case, records, statuses, metrics, spans and log lines as the general path has with its
interceptor (`gyrostat_common.rpc.interceptor`); the proof is a test that asks both. Next: `usecases.predict.submit`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.trace import Span

from gyrostat_common import oip, telemetry
from gyrostat_common.ids import Uuids
from gyrostat_common.rpc.context import ACTOR, ANONYMOUS
from gyrostat_common.rpc.interceptor import (
    Trailing,
    calls_seconds,
    end_span,
    span_attributes,
    status_of,
    tell,
)
from gyrostat_common.telemetry import tracing
from gyrostat_inference.domain import calls
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.service.decoding import describe
from gyrostat_inference.service.heads import Decoder
from gyrostat_inference.service.replies import Replies

METHOD = f"{oip.SERVICE}/ModelInfer"
PATH = f"/{METHOD}"
_ATTRIBUTES = span_attributes(METHOD)


class Call(Protocol):
    """A call as the front has it, its request complete and not compressed. Answered once, now or later."""

    @property
    def message(self) -> bytes: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def gone(self) -> bool: ...
    def header(self, name: str) -> str: ...
    def reply(self, message: bytes) -> None: ...
    def fail(self, code: int, details: str, trailing: Trailing = ()) -> None: ...


class Submits(Protocol):
    """The use case."""

    def submit(
        self, call: calls.Call, done: Callable[[calls.Answer | Exception], None], caller: Call | None = None
    ) -> None: ...


class InferLane:
    """Made on the event loop, called on it, while the service takes calls."""

    def __init__(self, predict: Submits, models: LiveModels) -> None:
        self._predict = predict
        self._decoder, self._replies = Decoder(models, Uuids()), Replies()
        self._now = asyncio.get_running_loop().time
        self._well = calls_seconds.labels(METHOD, grpc.StatusCode.OK.name)

    def __call__(self, call: Call) -> bool:
        """False: the general path must take the call; nothing has happened to it."""
        try:
            request = oip.ModelInferRequest.FromString(call.message)
        except DecodeError:
            return False
        began = self._now()
        span, traceparent = None, call.header("traceparent")
        if tracing.chosen(traceparent):
            span = tracing.start(METHOD, telemetry.SpanKind.SERVER, traceparent, (), _ATTRIBUTES, wanted=True)
            traceparent = tracing.traceparent_of(span.get_span_context())
        else:
            traceparent = ""
        try:
            asked = self._decoder.call_of(request, call.message, call.header, traceparent)
        except Exception as error:  # the caller gets its status, the log the rest
            self._failed(call, began, span, error)
        else:
            self._predict.submit(asked, partial(self._done, call, request, asked, began, span), call)
        return True

    def _done(
        self,
        call: Call,
        request: oip.ModelInferRequest,
        asked: calls.Call,
        began: float,
        span: Span | None,
        outcome: calls.Answer | Exception,
    ) -> None:
        if isinstance(outcome, Exception):
            return self._failed(call, began, span, outcome)
        try:
            message = self._replies.encoded(request, asked, outcome)
        except Exception as error:  # as above
            return self._failed(call, began, span, error)
        call.reply(message)
        self._well.observe(self._now() - began)
        if span is not None:
            describe(span, asked, outcome)
            end_span(span, grpc.StatusCode.OK, None)

    def _failed(self, call: Call, began: float, span: Span | None, error: Exception) -> None:
        code, text, trailing = status_of(METHOD, error)
        call.fail(code.value[0], text, trailing)
        took_s = self._now() - began
        calls_seconds.labels(METHOD, code.name).observe(took_s)
        if span is None:  # the caller's, so that the line names it
            traceparent = call.header("traceparent")
            span = tracing.start(METHOD, telemetry.SpanKind.SERVER, traceparent, wanted=False)
        end_span(span, code, error)
        with tracing.current(span):
            tell(METHOD, code, call.header(ACTOR) or ANONYMOUS, took_s, error)
