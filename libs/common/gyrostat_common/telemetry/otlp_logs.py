"""Sends by OTLP the lines that go to stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from gyrostat_common.telemetry import log
from gyrostat_common.telemetry.ending import ended_within

_SEVERITY = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_OWN_FIELDS = {"event", "level", "timestamp", "trace_id", "span_id", "service"}


@contextmanager
def exporting_logs(resource: Resource) -> Iterator[None]:
    """Every line becomes a log record with its fields as attributes, while the block runs."""
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logger = provider.get_logger("gyrostat")

    def emit(event: MutableMapping[str, Any]) -> None:
        level = str(event.get("level", "info"))
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_text=level.upper(),
                severity_number=_SEVERITY.get(level, SeverityNumber.INFO),
                body=str(event.get("event", "")),
                attributes={key: _plain(value) for key, value in event.items() if key not in _OWN_FIELDS},
            )
        )

    remove = log.add_sink(emit)
    try:
        yield
    finally:
        remove()
        ended_within(provider.shutdown, 5.0)


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
