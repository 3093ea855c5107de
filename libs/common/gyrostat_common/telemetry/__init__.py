"""What a service tells its operators: log lines, spans, metrics. Never hurts the service: an unreachable collector
costs dropped telemetry, not calls.
"""

from gyrostat_common.telemetry.log import get_logger
from gyrostat_common.telemetry.metrics import counter, gauge, histogram
from gyrostat_common.telemetry.otlp import open_telemetry
from gyrostat_common.telemetry.serve import serve_metrics
from gyrostat_common.telemetry.tracing import MOST_LINKS, SpanKind, current_traceparent, sampled, span

__all__ = [
    "MOST_LINKS",
    "SpanKind",
    "counter",
    "current_traceparent",
    "gauge",
    "get_logger",
    "histogram",
    "open_telemetry",
    "sampled",
    "serve_metrics",
    "span",
]
