"""How an exporter ends."""

from __future__ import annotations

import threading


def ended_within(shutdown: object, seconds: float) -> None:
    """Flushes and stops an exporter, but never waits longer: telemetry must not hold up the end of a process."""
    thread = threading.Thread(target=shutdown, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(seconds)
