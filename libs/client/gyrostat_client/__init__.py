"""Python SDK and the `gyrostat` command.

Names are loaded when they are used, so that the command starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gyrostat_client.client import AsyncClient, Client
    from gyrostat_client.errors import ServiceFailed, TimedOut, Unreachable
    from gyrostat_client.inference import Prediction
    from gyrostat_client.outcomes import Outcome
    from gyrostat_client.references import Reference, parse
    from gyrostat_client.unroll import PredictionRow

__all__ = [
    "AsyncClient",
    "Client",
    "Outcome",
    "Prediction",
    "PredictionRow",
    "Reference",
    "ServiceFailed",
    "TimedOut",
    "Unreachable",
    "parse",
]

_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "Outcome": "outcomes",
    "Prediction": "inference",
    "PredictionRow": "unroll",
    "Reference": "references",
    "ServiceFailed": "errors",
    "TimedOut": "errors",
    "Unreachable": "errors",
    "parse": "references",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gyrostat_client' has no attribute {name!r}")
    return getattr(import_module(f"gyrostat_client.{_HOMES[name]}"), name)
