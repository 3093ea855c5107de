"""The same prediction id asked twice: a caller's retry. Every answer is archived; one counts, the first that is heard.

A retry asks the same question, so its answers differ in latency at most. Counting the first is what needs no memory of
inputs: nothing that was counted is ever taken back, and an id cannot be given another answer later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gyrostat_monitor.domain.frames import ANSWER, Frame
from gyrostat_monitor.domain.joins import Key

PINNED = 2


class Heard:
    """What is known of predictions so far: who was answered, and which versions scored them."""

    def __init__(self, scored: Iterable[tuple[Key, int, int]]) -> None:
        """`scored`: (prediction, version, role) as the join keeps them; pinned calls count for nothing."""
        self._answered: set[Key] = set()
        self._scored: set[tuple[Key, int]] = set()
        for key, version, role in scored:
            if role != PINNED:
                self._note(key, version, answer=role == 0)

    def _note(self, key: Key, version: int, answer: bool) -> None:
        self._scored.add((key, version))
        if answer:
            self._answered.add(key)

    def is_news(self, key: Key, version: int, role: str) -> bool:
        """Whether this row counts, which makes it known. An answer: the first to its prediction, by whichever version;
        a shadow: the first of its version.
        """
        answer = role == ANSWER
        if (key in self._answered) if answer else ((key, version) in self._scored):
            return False
        self._note(key, version, answer)
        return True


def first_only(frames: Sequence[Frame], heard: Heard) -> list[Frame]:
    """The frames without the rows that repeat; earlier arrivals first where they come together. Pinned ones stay."""
    kept: dict[int, Frame] = {}
    order = sorted(range(len(frames)), key=lambda i: int(frames[i].arrival_us.min(initial=1 << 62)))
    for i in order:
        frame = frames[i]
        if frame.counts:
            keys = zip(frame.ids, frame.row_numbers.tolist(), strict=True)
            news = [heard.is_news(key, frame.version, frame.role) for key in keys]
            if not all(news):
                frame = frame.only(np.array(news, bool))
        kept[i] = frame
    return [kept[i] for i in range(len(frames))]


def repeats(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For archived rows of one prediction, whether each repeats an earlier one and is not counted."""
    heard, flags = Heard(()), [False] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["arrival_time"], rows[i]["stream"], rows[i]["frame_no"]))
    for i in order:
        row = rows[i]
        if not (row["role"] == ANSWER and row["variant"] == "pinned"):
            key = (row["prediction_id"].encode(), 0)
            flags[i] = not heard.is_news(key, row["version"], row["role"])
    return flags
