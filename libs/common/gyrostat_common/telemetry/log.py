"""Log lines are events with fields: `log.info("model_promoted", model=model, version=number)`. JSON or for a person."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, cast

import structlog
import structlog.tracebacks
from opentelemetry import trace

from gyrostat_common.settings import LogSettings

# Without the values of local variables: a tensor or a password must not come out with a traceback.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
Sink = Callable[[MutableMapping[str, Any]], None]
_sinks: list[Sink] = []  # where lines go besides stdout: the OTLP exporter, while it is open


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `logger_name=name`."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(logger_name=name))


def configure(settings: LogSettings, service: str = "") -> None:
    """Lines to stdout from now on. Loggers made earlier follow."""

    def stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if service:
            event.setdefault("service", service)
        return event

    renderer: Any = structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            add_trace,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if settings.format == "console" else [_TRACEBACKS]),
            _to_sinks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=_Stdout,
        cache_logger_on_first_use=False,
    )
    # Libraries speak through `logging`: their warnings become lines of ours.
    root = logging.getLogger()
    root.handlers[:] = [*(one for one in root.handlers if not isinstance(one, _FromLogging)), _FromLogging()]
    root.setLevel(logging.WARNING)


def add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds trace_id and span_id when there is a current span."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _to_sinks(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for sink in _sinks:
        with suppress(Exception):  # telemetry must not hurt the service
            sink(event)
    return event


def add_sink(sink: Sink) -> Callable[[], None]:
    """Every line goes to `sink` too, until the returned function is called."""
    _sinks.append(sink)
    return lambda: _sinks.remove(sink)


class _Stdout:
    """Writes lines to what is stdout now. A reader that went away, or a full disk, must not stop the service."""

    def __init__(self, *_: Any) -> None: ...

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    debug = info = warning = error = critical = exception = fatal = log = msg


class _FromLogging(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # A collector that is down is not our callers' business.
        level = logging.DEBUG if record.name.startswith("opentelemetry") else record.levelno
        get_logger(record.name).log(level, record.getMessage(), exc_info=record.exc_info or None)
