"""ModelInfer without a task: bytes in, bytes out, for a front that hands calls over as it reads them.

The same decoding, use case, records, statuses, metrics, spans and log lines as the general path has with its
interceptor (`gyrostat_common.rpc.interceptor`); the proof is a test that asks both. Next: `usecases.predict.submit`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.trace import Span

from gyrostat_common import oip, telemetry
from gyrostat_common.errors import InvalidInput
from gyrostat_common.ids import Uuids
from gyrostat_common.rpc.context import ACTOR, ANONYMOUS
from gyrostat_common.rpc.interceptor import (
    MOST_S,
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

    on_gone: Callable[[], None] | None
    """Called once when it ends without an answer of ours: taken back, its connection lost, or past its deadline."""

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
        self._decoder, self.replies = Decoder(models, Uuids()), Replies()
        self.now = asyncio.get_running_loop().time
        self.well = calls_seconds.labels(METHOD, grpc.StatusCode.OK.name)

    def __call__(self, call: Call) -> bool:
        """Takes every call."""
        began = self.now()
        span, traceparent = None, call.header("traceparent")
        if tracing.chosen(traceparent):
            span = tracing.start(METHOD, telemetry.SpanKind.SERVER, traceparent, (), _ATTRIBUTES, wanted=True)
            traceparent = tracing.traceparent_of(span.get_span_context())
        else:
            traceparent = ""
        waiting = _Waiting(self, call, began, span)
        try:
            asked = self._decoder.known(call.message, call.header, traceparent)
            if asked is None:
                waiting.request = read(call.message)
                asked = self._decoder.call_of(waiting.request, call.message, call.header, traceparent)
            waiting.asked = asked
        except Exception as error:  # the caller gets its status, the log the rest
            waiting.failed(error)
        else:
            call.on_gone = waiting.gone
            self._predict.submit(asked, waiting, call)
        return True


def read(message: bytes) -> oip.ModelInferRequest:
    """Raises InvalidInput."""
    try:
        return oip.ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise InvalidInput(f"the message is no ModelInferRequest: {error}") from error


class _Waiting:
    """A call that waits for its answer, and what comes of it."""

    __slots__ = ("asked", "began", "call", "lane", "over", "request", "span")

    def __init__(self, lane: InferLane, call: Call, began: float, span: Span | None) -> None:
        self.lane, self.call, self.began, self.span = lane, call, began, span
        self.request: oip.ModelInferRequest | None = None  # of a usual one nobody needs it
        self.over = False
        self.asked: calls.Call

    def __call__(self, outcome: calls.Answer | Exception) -> None:
        """The use case is through."""
        if self.over:
            return
        if isinstance(outcome, Exception):
            return self.failed(outcome)
        lane = self.lane
        try:
            message = lane.replies.encoded(self.request, self.asked, outcome)
        except Exception as error:  # as above
            return self.failed(error)
        self.over, self.call.on_gone = True, None  # a circle of the two would wait for the garbage collector
        self.call.reply(message)
        lane.well.observe(lane.now() - self.began)
        if self.span is not None:
            describe(self.span, self.asked, outcome)
            end_span(self.span, grpc.StatusCode.OK, None)

    def failed(self, error: Exception) -> None:
        """The caller gets its status."""
        code, text, trailing = status_of(METHOD, error)
        self.over, self.call.on_gone = True, None
        self.call.fail(code.value[0], text, trailing)
        self._ended(code, error)

    def gone(self) -> None:
        """Nobody waits any more; past the deadline the front has said so itself."""
        if self.over:
            return
        self.over, self.call.on_gone = True, None
        deadline = self.began + MOST_S if self.call.deadline is None else self.call.deadline
        if deadline <= self.lane.now():
            self._ended(grpc.StatusCode.DEADLINE_EXCEEDED, TimeoutError())
        else:
            self._ended(grpc.StatusCode.CANCELLED, asyncio.CancelledError())

    def _ended(self, code: grpc.StatusCode, error: BaseException) -> None:
        """Counts a call that was not answered, ends its span, and tells the log, but of those taken back."""
        took_s, span = self.lane.now() - self.began, self.span
        calls_seconds.labels(METHOD, code.name).observe(took_s)
        if span is not None:
            end_span(span, code, error)
        if code is grpc.StatusCode.CANCELLED:
            return
        header = self.call.header
        if span is None:  # the caller's, so that the line names it
            span = tracing.start(METHOD, telemetry.SpanKind.SERVER, header("traceparent"), wanted=False)
        with tracing.current(span):
            tell(METHOD, code, header(ACTOR) or ANONYMOUS, took_s, error)
