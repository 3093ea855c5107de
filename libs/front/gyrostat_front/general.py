"""The general path: handlers and interceptors of grpc.aio, one task per call."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any

import grpc

from gyrostat_front.call import CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNIMPLEMENTED, Call
from gyrostat_front.context import Context
from gyrostat_front.headers import Metadata
from gyrostat_front.messages import Unreadable

log = logging.getLogger("gyrostat_front")
UNKNOWN = 2
END_S = 5.0
Resolve = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Details(grpc.HandlerCallDetails):
    """What interceptors see of a call."""

    def __init__(self, method: str, invocation_metadata: Metadata) -> None:
        self.method, self.invocation_metadata = method, invocation_metadata


class General:
    """Runs what no lane takes."""

    def __init__(self, interceptors: Sequence[Any]) -> None:
        self._handlers: list[Any] = []
        self._resolve: Resolve = self._found
        for interceptor in reversed(interceptors):
            self._resolve = partial(interceptor.intercept_service, self._resolve)
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, handlers: Sequence[Any]) -> None:
        """Asked for methods in their order."""
        self._handlers += handlers

    async def _found(self, details: grpc.HandlerCallDetails) -> Any:
        return next((found for one in self._handlers if (found := one.service(details)) is not None), None)

    def take(self, call: Call) -> None:
        """Answers the call, some time."""
        call.general = True
        call.opened()
        running = _Running(call)
        task = call.connection.host.loop.create_task(running.run(self._resolve), name=f"call {call.path}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        call.on_gone = lambda: _end(task)
        if call.deadline is not None:
            timer = call.connection.host.loop.call_at(call.deadline, running.expired)
            task.add_done_callback(lambda _: timer.cancel())

    async def ended(self) -> None:
        """When no method runs any more; those that do are cancelled, and waited for a while."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)


def _end(task: asyncio.Task[None]) -> None:
    task.cancel()


class _Running:
    """One call and its method."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._context: Context | None = None

    def expired(self) -> None:
        """The deadline is past: the caller has given up, so does the method."""
        if not self._call.done:
            self._call.expire()

    async def run(self, resolve: Resolve) -> None:
        call = self._call
        try:
            metadata = call.headers.metadata()
        except ValueError as error:
            call.fail(INTERNAL, str(error))
            return
        try:
            handler = await resolve(Details(call.path, metadata))
            if handler is None:
                call.fail(UNIMPLEMENTED, "Method not found!")
                return
            self._context = context = Context(call, metadata, handler.response_serializer)
            context.deserialise = handler.request_deserializer
            await _answer(handler, context, call)
        except grpc.aio.AbortError:
            pass  # the status is said
        except Unreadable as error:
            call.fail(error.code, error.text)
        except asyncio.CancelledError:
            call.fail(CANCELLED, "")  # says nothing when the call is gone
            raise
        except Exception as error:  # the caller gets a status, the log the rest
            log.exception("a method failed: %s", call.path)
            call.fail(UNKNOWN, f"Unexpected {type(error)}")
        finally:
            call.on_gone = None
            if self._context is not None:
                self._context.ended()


async def _answer(handler: Any, context: Context, call: Call) -> None:
    request: Any = _requests(context) if handler.request_streaming else await _only(context, call)
    behaviour = _behaviour(handler)
    answer = behaviour(request, context)
    if handler.response_streaming:
        if inspect.isawaitable(answer):
            await answer
        else:
            async with aclosing(answer) if hasattr(answer, "aclose") else nullcontext():
                async for reply in answer:
                    await context.write(reply)
        if not call.done:
            call.head()
            context.finish()
        return
    reply = await answer
    if not call.done:
        context.answer(reply)


def _behaviour(handler: Any) -> Callable[[Any, Any], Any]:
    if handler.request_streaming:
        found = handler.stream_stream if handler.response_streaming else handler.stream_unary
    else:
        found = handler.unary_stream if handler.response_streaming else handler.unary_unary
    return found  # type: ignore[no-any-return]


async def _requests(context: Context) -> AsyncIterator[Any]:
    while (request := await context.next_request()) is not None:
        yield request


async def _only(context: Context, call: Call) -> Any:
    """The one request; more or fewer are the caller's fault."""
    try:
        async with asyncio.timeout(None if call.deadline is not None else call.connection.host.limits.request_s):
            request = await context.next_request()
            more = await call.receive()
    except TimeoutError:
        raise Unreadable(DEADLINE_EXCEEDED, "the request did not come in time") from None
    if request is None or more is not None:
        raise Unreadable(UNIMPLEMENTED, "this method takes exactly one request")
    return request
