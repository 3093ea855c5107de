"""What a person sees while the year goes by: a live picture on a terminal, plain lines elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flights import arms, timeline
from flights.replay import Replay
from flights.watch import Watch
from gyrostat.registry.v1 import registry_pb2

LINES: Final = 9
EVERY_S: Final = 0.5
PLAIN_EVERY_S: Final = 10.0


class View:
    """Shows set-up steps as lines, then the replay."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._told: set[tuple[str, str]] = set()
        self._started = monotonic()

    def step(self, text: str) -> None:
        """One line about the set-up or the end."""
        if not self._quiet:
            self._console.print(f"[{monotonic() - self._started:6.1f} s] {text}", highlight=False, markup=False)

    @asynccontextmanager
    async def following(self, replay: Replay, watch: Watch) -> AsyncIterator[None]:
        """Shows the replay until left."""
        if self._quiet:
            yield
            return
        show = self._live if self._console.is_terminal else self._plain
        task = asyncio.create_task(show(replay, watch))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _live(self, replay: Replay, watch: Watch) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.percentage:>3.0f} %"))
        progress = Progress(*columns, TimeElapsedColumn())
        bar = progress.add_task("the year", total=len(replay.traffic.flights))
        with Live(console=self._console, refresh_per_second=4) as live:
            while True:
                progress.update(bar, completed=replay.ledger.answered)
                live.update(Group(Panel(_figures(replay, watch), title="Gyrostat"), progress, _news(watch)))
                await asyncio.sleep(EVERY_S)

    async def _plain(self, replay: Replay, watch: Watch) -> None:
        shown = 0.0
        while True:
            for moment in timeline.moments(watch.picture):
                key = (moment.subject, moment.what + moment.why)
                if key not in self._told:
                    self._told.add(key)
                    self.step(moment.line())
            if monotonic() - shown >= PLAIN_EVERY_S:
                shown = monotonic()
                self.step(_one_line(replay, watch))
            await asyncio.sleep(EVERY_S)


def _clock(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%d %b %H:%M}" if us else "-"


def _one_line(replay: Replay, watch: Watch) -> str:
    plan, status = watch.picture.plan, watch.picture.status
    canary = f", canary v{plan.canary.number} {plan.canary_weight / 100:g} %" if plan.canary.number else ""
    return (
        f"{_clock(replay.clock_us)}: {replay.ledger.answered:,} answered, {status.outcomes_joined:,} outcomes joined, "
        f"watermark {_clock(watch.picture.watermark_us)}, v{plan.champion.number}{canary}, loss {_loss(replay):.4f}"
    )


def _figures(replay: Replay, watch: Watch) -> Table:
    plan, status, rollout = watch.picture.plan, watch.picture.status, watch.picture.open_rollout
    state = timeline.STATES.get(rollout.state, "") if rollout else "none"
    if rollout is not None and rollout.state == registry_pb2.ROLLOUT_STATE_CANARY:
        state += f" at {plan.canary_weight / 100:g} %"
    episodes = {episode.latest.episode_id: episode for episode in watch.picture.episodes}
    known = [timeline.kind_of(episodes[one]) for one in status.open_episodes if one in episodes]
    table = Table.grid(padding=(0, 3))
    table.add_row("event clock", _clock(replay.clock_us), "monitor's watermark", _clock(watch.picture.watermark_us))
    table.add_row(
        "champion", f"version {plan.champion.number}", "roll-out", f"v{rollout.version} {state}" if rollout else state
    )
    table.add_row("answered", f"{replay.ledger.answered:,}", "outcomes joined", f"{status.outcomes_joined:,}")
    table.add_row("log loss so far", f"{_loss(replay):.4f}", "open episodes", ", ".join(known) or "none")
    return table


def _news(watch: Watch) -> Panel:
    moments = timeline.moments(watch.picture)[-LINES:]
    return Panel("\n".join(moment.line() for moment in moments) or "nothing yet", title="what happened and why")


def _loss(replay: Replay) -> float:
    """Log loss of what was answered and has landed by now."""
    sent = replay.ledger.outcome_sent
    if not sent.any():
        return float("nan")
    return float(np.mean(arms.loss(replay.traffic.flights.late[sent], replay.ledger.scores[sent])))
