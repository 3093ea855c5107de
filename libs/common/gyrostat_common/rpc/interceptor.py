"""Around every call of ours: who and until when, a span when sampled, errors as statuses, a count, one log line."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, Protocol, cast

import grpc
from opentelemetry.trace import Span, SpanKind

from gyrostat_common import telemetry
from gyrostat_common.errors import DeadlineOver, GyrostatError
from gyrostat_common.rpc.context import ACTOR, ANONYMOUS, current_actor, deadline
from gyrostat_common.rpc.decoding import Undecoded, each_readable, readable, reading, refused
from gyrostat_common.rpc.status import REASON, code_of, text_of, trailers_of
from gyrostat_common.telemetry import tracing

log = telemetry.get_logger("rpc")
calls_seconds = telemetry.histogram("gyrostat_rpc_duration_seconds", "Calls answered", ("method", "code"))

Handler = Any  # grpc.RpcMethodHandler of whatever messages
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
Context = Any  # grpc.aio.ServicerContext of whatever messages
MOST_S = 60.0
"""The deadline of a unary call that brings none."""
_FOREIGN = ("/grpc.health.", "/grpc.reflection.")


Trailing = tuple[tuple[str, str | bytes], ...]


def span_attributes(method: str) -> dict[str, str]:
    """What the span of a call says from its beginning; `method` is the full name without the leading slash."""
    service, _, name = method.partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


class SpanWords(Protocol):
    """What spans say of calls, in the words of the protocol that brought them."""

    def begun(self, method: str, context: Any) -> tuple[str, Mapping[str, str]]:
        """The span's name, and what is known from the beginning."""

    def over(self, code: grpc.StatusCode) -> Mapping[str, int]:
        """How it ended."""


class GrpcSpan:
    """gRPC's."""

    def begun(self, method: str, context: Any) -> tuple[str, Mapping[str, str]]:
        return method, span_attributes(method)

    def over(self, code: grpc.StatusCode) -> Mapping[str, int]:
        return {"rpc.grpc.status_code": code.value[0]}


GRPC_SPAN = GrpcSpan()


class Aborted(Exception):
    """Carries a status out of the block that observes the call."""


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """`quiet` methods (full names without the leading slash) are logged only when they fail. `most_s` is the deadline
    of a unary call that brings none."""

    def __init__(self, quiet: Set[str] = frozenset(), most_s: float = MOST_S, words: SpanWords = GRPC_SPAN) -> None:
        self._quiet, self._most_s, self._words = quiet, most_s, words
        self._wrapped: dict[str, tuple[Any, Handler]] = {}

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler:
        handler = await continuation(details)
        if handler is None or details.method.startswith(_FOREIGN):
            return handler
        known = self._wrapped.get(details.method)
        if known is None or known[0] is not handler:
            known = self._wrapped[details.method] = (handler, self._wrap(details.method.lstrip("/"), handler))
        return known[1]

    def _wrap(self, method: str, handler: Handler) -> Handler:
        serialisers = {
            "request_deserializer": reading(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if not handler.response_streaming:
            behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            return make(self._answering_once(method, behaviour, handler.request_streaming), **serialisers)
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(self._answering_many(method, behaviour, handler.request_streaming), **serialisers)

    def _answering_once(self, method: str, behaviour: Any, streamed: bool, limited: bool = True) -> Any:
        """`streamed`: its requests are; it has no limit of ours then."""
        taken, limited = (each_readable, False) if streamed else (readable, limited)

        async def answer(request: Any, context: Context) -> Any:
            try:
                with self._observed(method, context) as call:
                    limit = call.limit_s(self._most_s) if limited else call.limit_s(None)
                    async with asyncio.timeout(limit):
                        return await behaviour(taken(request), context)
            except Aborted:
                pass  # and let go of it: what is raised in here would hold it, its frames and the request
            await call.abort()

        return answer

    def _answering_many(self, method: str, behaviour: Any, streamed: bool) -> Any:
        if not inspect.isasyncgenfunction(inspect.unwrap(behaviour)):
            # Written with context.write: the coroutine answers by itself.
            return self._answering_once(method, behaviour, streamed, limited=False)

        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _Call(method, context, method in self._quiet, self._words)
            unread = isinstance(request, Undecoded)
            taken = each_readable(request) if streamed else request
            replies = cast(AsyncIterator[Any], refused(request) if unread else behaviour(taken, context))
            try:
                while True:
                    # Entered per reply: a generator must not leave context variables set while it is suspended.
                    with call.current(), tracing.current(call.span):
                        reply = await anext(replies)
                    yield reply
            except StopAsyncIteration:
                call.ended(None)
            except (asyncio.CancelledError, grpc.aio.AbortError) as error:
                call.ended(error)
                raise
            except GeneratorExit:
                call.ended(None)
                raise
            except Exception as error:  # the caller gets its status, the log the rest
                call.ended(error)
            finally:
                await replies.aclose()  # type: ignore[attr-defined]
            if call.failed:
                await call.abort()

        return answer

    @contextmanager
    def _observed(self, method: str, context: Context) -> Iterator[_Call]:
        call = _Call(method, context, method in self._quiet, self._words)
        try:
            with call.current(), tracing.current(call.span):
                try:
                    yield call
                except BaseException as raised:
                    call.ended(raised)
                    raise
                else:
                    call.ended(None)
        except grpc.aio.AbortError:
            raise  # the method has set its own status
        except Exception as raised:
            raise Aborted from raised


class _Call:
    """One call: its caller, deadline, outcome."""

    def __init__(self, method: str, context: Context, quiet: bool, words: SpanWords) -> None:
        self._method, self._context, self._quiet, self._words = method, context, quiet, words
        self._started = asyncio.get_running_loop().time()
        metadata = dict(reversed(tuple(context.invocation_metadata() or ())))  # of a name given twice, the first
        self.actor = str(metadata.get(ACTOR) or ANONYMOUS)
        traceparent = str(metadata.get("traceparent") or "")
        name, attributes = words.begun(method, context)
        self.span = tracing.start(name, SpanKind.SERVER, traceparent, (), attributes)
        remaining: float | None = context.time_remaining()
        self._deadline = None if remaining is None else self._started + remaining
        self._status: tuple[grpc.StatusCode, str, Trailing] | None = None
        """Of a call that failed. Not the error: its frames hold us and the request, which would stay in that circle."""

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self._status is not None

    def limit_s(self, most_s: float | None) -> float | None:
        """Seconds that the method may take."""
        if self._deadline is None:
            return most_s
        return max(0.0, self._deadline - self._started)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the caller and the deadline those that the code below sees."""
        actor_token, deadline_token = current_actor.set(self.actor), deadline.set(self._deadline)
        try:
            yield
        finally:
            current_actor.reset(actor_token)
            deadline.reset(deadline_token)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None:
            return grpc.StatusCode.OK
        if isinstance(error, asyncio.CancelledError):
            return grpc.StatusCode.CANCELLED
        if isinstance(error, TimeoutError):
            return grpc.StatusCode.DEADLINE_EXCEEDED
        if isinstance(error, grpc.aio.AbortError):
            code = self._context.code()
            return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
        return code_of(error)

    def ended(self, error: BaseException | None) -> None:
        """Counts and logs the call and ends its span."""
        code = self._code(error)
        if error is not None:
            self._status = status_of(self._method, error)
        end_span(self.span, code, error, self._words)
        took = asyncio.get_running_loop().time() - self._started
        calls_seconds.labels(self._method, code.name).observe(took)
        if self._quiet and (error is None or code is grpc.StatusCode.CANCELLED):
            return
        with tracing.current(self.span):
            tell(self._method, code, self.actor, took, error)

    async def abort(self) -> None:
        """Ends the call with the status of the error it ended with."""
        assert self._status is not None, "a call that ended well is not aborted"
        await self._context.abort(*self._status)


def end_span(span: Span, code: grpc.StatusCode, error: BaseException | None, words: SpanWords = GRPC_SPAN) -> None:
    """Says in the span how the call ended, and ends it; nothing to do where none is recorded."""
    if span.is_recording():
        span.set_attributes(words.over(code))
        if error is not None:
            tracing.failed(span, error)
        span.end()


def status_of(method: str, error: BaseException) -> tuple[grpc.StatusCode, str, Trailing]:
    """How a call ends that raised this: code, text, trailing metadata. What is not ours is told to the log alone."""
    if isinstance(error, GyrostatError):
        return code_of(error), text_of(error), trailers_of(error)
    if isinstance(error, DeadlineOver):
        return grpc.StatusCode.DEADLINE_EXCEEDED, text_of(error), ((REASON, type(error).__name__),)
    if isinstance(error, TimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED, f"{method} took too long", ()
    return grpc.StatusCode.INTERNAL, "internal error", ()


def tell(method: str, code: grpc.StatusCode, actor: str, took_s: float, error: BaseException | None) -> None:
    """One log line about a call that has ended."""
    line = log.bind(method=method, code=code.name, actor=actor, ms=round(took_s * 1e3, 2))
    if code is grpc.StatusCode.INTERNAL:
        line.error("call", exc_info=error)
    elif error is not None and code is not grpc.StatusCode.CANCELLED:
        line.info("call", reason=type(error).__name__, detail=str(error)[:500])
    else:
        line.info("call")
