"""A drift episode as the trainer remembers it: enough to decide on it now, and again when the watermark has moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

OPENED, CONFIRMED, RESOLVED, SUPERSEDED = "opened", "confirmed", "resolved", "superseded"
_OPEN = frozenset({OPENED, CONFIRMED})


@dataclass(frozen=True)
class Episode:
    """Times are event time in microseconds; `event_id` is the drift.detected event that last spoke of it."""

    id: str
    environment: str
    model: str
    version: int
    kind: str
    state: str
    started_at_us: int
    ended_at_us: int | None
    watermark_us: int
    event_id: str
    correlation_id: str
    traceparent: str = ""
    summary: str = ""
    features: tuple[str, ...] = ()
    was_confirmed: bool = False
    # Runs it caused so far, and the last of them.
    attempts: int = 0
    run_id: str = ""
    # What was last said of it, so that the same is not said twice.
    last_rule: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in _OPEN

    @property
    def cause(self) -> str:
        """Names the next run it may cause: the episode itself, then a second attempt, and so on."""
        return self.id if self.attempts == 0 else f"{self.id}#{self.attempts + 1}"

    def heard(self, news: Episode) -> Episode:
        """This episode after a later event about it; what was decided so far is kept. Older news changes nothing."""
        if news.watermark_us < self.watermark_us or (not self.is_open and news.is_open):
            return self
        return replace(
            news,
            was_confirmed=self.was_confirmed or news.state == CONFIRMED,
            started_at_us=min(self.started_at_us, news.started_at_us),
            attempts=self.attempts,
            run_id=self.run_id,
            last_rule=self.last_rule,
        )


@dataclass(frozen=True)
class Range:
    """Event times [start, end) in microseconds that must not be trained on; no end = still open."""

    start_us: int
    end_us: int | None
    reason: str


def poisoned(episodes: list[Episode]) -> tuple[Range, ...]:
    """The ranges of data-quality episodes that are open or were confirmed, oldest first."""
    ranges = [
        Range(
            e.started_at_us, None if e.is_open else (e.ended_at_us or e.watermark_us), f"data quality, episode {e.id}"
        )
        for e in episodes
        if e.is_open or e.was_confirmed
    ]
    return tuple(sorted(ranges, key=lambda r: r.start_us))
