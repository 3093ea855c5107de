"""Walks the closed ticks of a model for the jump check: one state per model, whatever versions answered."""

from __future__ import annotations

from collections.abc import Callable

from gyrostat_common.profile import Numeric
from gyrostat_monitor.domain.jump import MIN_ROWS, JumpState, advance
from gyrostat_monitor.domain.ticks import Layout, Tick
from gyrostat_monitor.domain.windows import Span
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Counts
from gyrostat_monitor.usecases.turn import Turn


class Jumps:
    """Inside a transaction of its caller. `read` and `write` turn the state into text and back."""

    def __init__(
        self, counts: Counts, known: Known, read: Callable[[str | None], JumpState], write: Callable[[JumpState], str]
    ) -> None:
        self._counts, self._known, self._read, self._write = counts, known, read, write

    async def until(self, turn: Turn, end_us: int) -> JumpState:
        """The state after all ticks that start before `end_us`."""
        text = turn.changes.get("jumps", turn.progress.get("jumps"))
        state = self._read(text)
        start = turn.cursor("jumped") or 0
        if end_us <= start:
            return state
        tick_s = self._known.policy(turn.model).tick_s
        ticks: dict[int, list[tuple[int, Layout, Tick]]] = {}
        for version in turn.versions_since(start):
            layout = await self._known.layout(turn.model, version)
            for at, tick in (await self._counts.ticks(turn.model, version, Span(start, end_us), layout.key)).items():
                ticks.setdefault(at, []).append((version, layout, tick))
        for at in sorted(ticks):
            parts = sorted(ticks[at], key=lambda p: p[0])
            profile = max(parts, key=lambda p: (p[2].rows, -p[0]))[1].profile
            if profile is not None:
                state = advance(state, profile, at, _means(parts), tick_s)
        turn.changes["jumps"] = self._write(state)
        turn.changes["jumped"] = str(end_us)
        return state


def _means(parts: list[tuple[int, Layout, Tick]]) -> dict[str, float]:
    """Numeric feature → mean over all versions' rows of a tick; features with too few rows are left out."""
    sums: dict[str, tuple[int, float]] = {}
    for _, layout, tick in parts:
        for feature in layout.profile.features if layout.profile else ():
            if isinstance(feature, Numeric):
                moments = layout.moments(tick.vector, feature.name)
                if moments.rows:
                    rows, weighted = sums.get(feature.name, (0, 0.0))
                    sums[feature.name] = (rows + moments.rows, weighted + moments.rows * moments.mean)
    return {name: weighted / rows for name, (rows, weighted) in sums.items() if rows >= MIN_ROWS}
