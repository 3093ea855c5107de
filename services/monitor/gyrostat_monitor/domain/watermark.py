"""The watermark of a model: event time up to which every active stream has said what it had to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ACTIVE_US = 60_000_000
"""A stream that has been silent for longer (wall) holds nothing back."""


@dataclass(frozen=True)
class Stream:
    """One stream's progress: largest event time seen, and when (wall) it last said anything. Microseconds."""

    event_us: int
    seen_us: int

    def heard(self, event_us: int, now_us: int) -> Stream:
        """After a frame."""
        return Stream(max(self.event_us, event_us), max(self.seen_us, now_us))


def watermark(streams: Mapping[str, Stream], lateness_us: int, now_us: int, active_us: int = ACTIVE_US) -> int | None:
    """Least of the largest event times over streams of answers active in the last minute of wall time, minus the
    lateness. When none is active, the most advanced stream counts: silence must not hide what has been seen. None
    before
    the first row.
    """
    if not streams:
        return None
    active = [s.event_us for s in streams.values() if now_us - s.seen_us <= active_us]
    return (min(active) if active else max(s.event_us for s in streams.values())) - lateness_us
