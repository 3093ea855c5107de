"""The REST twin of the Open Inference Protocol. Every request becomes the message that gRPC would have brought and goes
through the same interceptor into the same service: answers, records, counters, spans and errors are the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import grpc

from gyrostat_common import oip
from gyrostat_common.errors import GyrostatError, Unavailable
from gyrostat_common.health import Health
from gyrostat_common.rpc.interceptor import CallInterceptor
from gyrostat_common.rpc.status import REASON, code_of, text_of
from gyrostat_inference.domain.errors import WrongParameter
from gyrostat_inference.service import http
from gyrostat_inference.service.http import Asked, Replied
from gyrostat_inference.service.protocol import QUIET, InferenceService
from gyrostat_inference.service.rest_bodies import HEADER_LENGTH, InferBody, document_of, plain

TIMEOUT_MS = "gyrostat-timeout-ms"
MOST_S = 60.0
"""The deadline of a request that brings none; gRPC's is the same."""
GRACE_S = 10.0
RETRY_MS = "grpc-retry-pushback-ms"
_RPCS = (
    "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer", "RepositoryIndex",
    "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip
_PASSED_ON = ("gyrostat-", "traceparent", "tracestate")
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

Call = Callable[[Callable[[], Any], "_Context"], Awaitable[Any]]
"""An RPC behind the interceptor. The message is made inside: a body that cannot be read is a call that failed."""


@dataclass
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class _Refused(Exception):
    """The status with which a call ended."""

    def __init__(self, code: grpc.StatusCode, text: str, trailing: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.code, self.text, self.trailing = code, text, trailing


class _Context:
    """What the interceptor and the service see of a call."""

    def __init__(self, asked: Asked) -> None:
        headers, self.asked = asked.headers, asked
        self._metadata = [(name.lower(), _clean(value)) for name, value in headers.items() if _ours(name)]
        within_s = _within_s(headers.get(TIMEOUT_MS))
        self._ends_at = None if within_s is None else asyncio.get_running_loop().time() + within_s

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - asyncio.get_running_loop().time())

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def set_trailing_metadata(self, trailing: Any) -> None:
        """HTTP has no room for it here."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = ()) -> NoReturn:
        raise _Refused(code, details, dict(trailing))


class HttpSpan:
    """What the span of a call says here: a request of HTTP, in OpenTelemetry's words for it."""

    def begun(self, method: str, context: Any) -> tuple[str, dict[str, str]]:
        asked: Asked = context.asked
        return f"{asked.method} {asked.route}", {
            "http.request.method": asked.method,
            "http.route": asked.route,
            "url.path": f"/{'/'.join(asked.parts)}",
            "url.scheme": asked.scheme,
            "network.protocol.version": "1.1",
        }

    def over(self, code: grpc.StatusCode) -> dict[str, int]:
        return {"http.response.status_code": 200 if code is grpc.StatusCode.OK else _STATUS.get(code, 500)}


class Rest:
    """The doors of the twin: `answer` is what HTTP calls. Until `serving`, and after it, only health is answered."""

    def __init__(self, health: Health, grace_s: float = GRACE_S) -> None:
        self._health, self._grace_s = health, grace_s
        self._calls: dict[str, Call] = {}
        self._in_flight = 0
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def serving(self, service: InferenceService) -> AsyncIterator[None]:
        """Lets calls in while the block runs and the process answers. At the end those in flight finish."""
        interceptor = CallInterceptor({f"{oip.SERVICE}/{name}" for name in QUIET}, MOST_S, HttpSpan())
        for name in _RPCS:
            self._calls[name] = await _behind(interceptor, name, getattr(service, name))
        try:
            yield
        finally:
            self._calls.clear()
            self._idle.clear()
            if self._in_flight:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._grace_s):
                        await self._idle.wait()

    async def answer(self, asked: Asked) -> Replied:
        """Raises nothing but its own cancellation."""
        self._in_flight += 1
        try:
            return await self._answered(asked)
        except _Refused as refused:
            return http.error(_STATUS.get(refused.code, 500), refused.text, _headers(refused.trailing))
        except GyrostatError as error:
            return http.error(_STATUS[code_of(error)], text_of(error), _headers({REASON: type(error).__name__}))
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _answered(self, asked: Asked) -> Replied:
        method = "GET" if asked.method == "HEAD" else asked.method
        methods = []
        for wanted, pattern, handle in _ROUTES:
            names = _matched(pattern, asked.parts)
            if names is not None and wanted == method:
                return await handle(self, replace(asked, route=f"/{'/'.join(pattern)}"), names)
            if names is not None:
                methods.append(wanted)
        if methods:
            return http.error(
                405, f"{asked.method[:20]} is not for this; {methods[0]} is", {"Allow": ", ".join(methods)}
            )
        return http.error(404, f"nothing is at /{'/'.join(asked.parts)[:200]}")

    async def call(self, name: str, make: Callable[[], Any], asked: Asked) -> Any:
        """The reply of an RPC to the message that `make` gives. Raises _Refused, GyrostatError."""
        if name not in self._calls or not self._health.answering:
            raise Unavailable(f"not now: {self._health.look().reason}")
        return await self._calls[name](make, _Context(asked))

    def not_ready(self) -> str | None:
        """Why the process wants no traffic; None while it does."""
        return self._health.look().reason


Names = Mapping[str, str]
Handle = Callable[[Rest, Asked, Names], Awaitable[Replied]]


async def _live(rest: Rest, asked: Asked, names: Names) -> Replied:
    return _json({"live": True})


async def _ready(rest: Rest, asked: Asked, names: Names) -> Replied:
    reason = rest.not_ready()
    return _json({"ready": True}) if reason is None else _json({"ready": False, "error": reason}, 503)


async def _server(rest: Rest, asked: Asked, names: Names) -> Replied:
    return _json(plain(await rest.call("ServerMetadata", oip.ServerMetadataRequest, asked)))


async def _model(rest: Rest, asked: Asked, names: Names) -> Replied:
    return _json(plain(await rest.call("ModelMetadata", lambda: oip.ModelMetadataRequest(**names), asked)))


async def _model_ready(rest: Rest, asked: Asked, names: Names) -> Replied:
    reply = await rest.call("ModelReady", lambda: oip.ModelReadyRequest(**names), asked)
    return _json({"name": names["name"], "ready": reply.ready}, 200 if reply.ready else 503)


async def _config(rest: Rest, asked: Asked, names: Names) -> Replied:
    return _json(plain((await rest.call("ModelConfig", lambda: oip.ModelConfigRequest(**names), asked)).config))


async def _statistics(rest: Rest, asked: Asked, names: Names) -> Replied:
    return _json(plain(await rest.call("ModelStatistics", lambda: oip.ModelStatisticsRequest(**names), asked)))


async def _index(rest: Rest, asked: Asked, names: Names) -> Replied:
    def made() -> oip.RepositoryIndexRequest:
        ready = document_of(asked.body).get("ready", False)
        if not isinstance(ready, bool):
            raise WrongParameter("parameter 'ready' is true or false")
        return oip.RepositoryIndexRequest(ready=ready)

    return _json(plain(await rest.call("RepositoryIndex", made, asked))["models"])


async def _load(rest: Rest, asked: Asked, names: Names) -> Replied:
    await rest.call("RepositoryModelLoad", lambda: oip.RepositoryModelLoadRequest(model_name=names["name"]), asked)
    return _json({})


async def _unload(rest: Rest, asked: Asked, names: Names) -> Replied:
    await rest.call("RepositoryModelUnload", lambda: oip.RepositoryModelUnloadRequest(model_name=names["name"]), asked)
    return _json({})


async def _infer(rest: Rest, asked: Asked, names: Names) -> Replied:
    body = InferBody(names["name"], names.get("version", ""), asked.body, asked.headers.get(HEADER_LENGTH))
    content, headers = body.reply(await rest.call("ModelInfer", body.request, asked))
    return Replied(200, content, headers)


def _routes() -> list[tuple[str, tuple[str, ...], Handle]]:
    found: list[tuple[str, str, Handle]] = []
    for model in ("v2/models/{name}/versions/{version}", "v2/models/{name}"):
        found.append(("POST", f"{model}/infer", _infer))
        for path, handle in (("ready", _model_ready), ("config", _config), ("stats", _statistics)):
            found.append(("GET", f"{model}/{path}", handle))
    found += [
        ("GET", "v2", _server),
        ("GET", "v2/health/live", _live),
        ("GET", "v2/health/ready", _ready),
        ("GET", "v2/models/stats", _statistics),
        ("GET", "v2/models/{name}", _model),
        ("GET", "v2/models/{name}/versions/{version}", _model),
        ("POST", "v2/repository/index", _index),
        ("POST", "v2/repository/models/{name}/load", _load),
        ("POST", "v2/repository/models/{name}/unload", _unload),
    ]
    return [(method, tuple(path.split("/")), handle) for method, path, handle in found]


_ROUTES = _routes()


def _matched(pattern: tuple[str, ...], parts: tuple[str, ...]) -> Names | None:
    """What stands for the names in braces; None when the path is another."""
    if len(pattern) != len(parts):
        return None
    names = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            names[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return names


async def _behind(interceptor: CallInterceptor, name: str, answer: Any) -> Call:
    """The method of the service behind the interceptor; its message is made inside."""

    async def behaviour(make: Callable[[], Any], context: Any) -> Any:
        return await answer(make(), context)

    handler = grpc.unary_unary_rpc_method_handler(behaviour)

    async def same(details: grpc.HandlerCallDetails) -> Any:
        return handler

    wrapped = await interceptor.intercept_service(same, _Details(f"/{oip.SERVICE}/{name}"))
    call: Call = wrapped.unary_unary
    return call


def _json(given: Any, status: int = 200) -> Replied:
    return Replied(status, json.dumps(given, separators=(",", ":")).encode())


def _headers(trailing: Mapping[str, Any]) -> dict[str, str]:
    said = {REASON: str(trailing[REASON])} if REASON in trailing else {}
    return said | http.retry_after(trailing.get(RETRY_MS))


def _ours(name: str) -> bool:
    return name.lower().startswith(_PASSED_ON)


def _clean(value: str) -> str:
    """Raises WrongParameter for bytes that are no text."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongParameter("a header is not UTF-8") from None
    return value


def _within_s(given: str | None) -> float | None:
    """Seconds; None where no deadline was given. Raises WrongParameter."""
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal()) or not 0 < int(given[:12]) <= 86_400_000:
        raise WrongParameter(f"{TIMEOUT_MS} is 1 to 86,400,000 milliseconds, not {given[:40]!r}")
    return int(given) / 1000
