"""Tumbling windows of event time, cut when the watermark has passed them. A window with too few rows joins the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """[start, end) in microseconds of event time."""

    start_us: int
    end_us: int


@dataclass(frozen=True)
class Window:
    """A closed window as it was last reported."""

    model: str
    version: int
    span: Span
    rows: int
    revision: int
    judged: bool
    """Its realised quality has been judged."""
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Cut:
    """Windows that can be closed, and the event time before which everything is closed (None: nothing is)."""

    closed: tuple[Span, ...]
    cursor_us: int | None


def cut(rows: Mapping[int, int], cursor_us: int | None, watermark_us: int, width_us: int, min_rows: int) -> Cut:
    """Cuts windows up to the watermark.

    `rows` tick start → rows, at least from the cursor on. Windows start at multiples of `width_us`; one with fewer than
    `min_rows` is joined to the next; empty stretches are skipped. The result depends on the ticks before the watermark
    alone, so that asking more or less often changes nothing.
    """
    ticks = sorted(t for t, n in rows.items() if n > 0 and (cursor_us is None or t >= cursor_us))
    closed: list[Span] = []
    while ticks:
        start = ticks[0] // width_us * width_us
        end, held = start + width_us, 0
        while end <= watermark_us:
            held = sum(rows[t] for t in ticks if t < end)
            if held >= min_rows:
                break
            end += width_us
        if end > watermark_us or held < min_rows:
            break
        closed.append(Span(start, end))
        cursor_us = end
        ticks = [t for t in ticks if t >= end]
    return Cut(tuple(closed), cursor_us)
