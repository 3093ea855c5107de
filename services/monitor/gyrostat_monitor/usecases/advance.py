"""What follows when event time moves on: windows close, the contract is checked, outcomes fall due, episodes are told.

Called inside the transaction of whatever moved it. Everything here is a function of ticks and sums before the
watermark, in event order, so asking more or less often, other partitions and restarts tell the same episodes.
"""

from __future__ import annotations

from gyrostat_monitor.domain.episodes import Episode, Observed, step
from gyrostat_monitor.domain.watermark import watermark
from gyrostat_monitor.usecases.join import Join
from gyrostat_monitor.usecases.judging import Judging
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Announcer, History, Stores
from gyrostat_monitor.usecases.reports import Reports
from gyrostat_monitor.usecases.turn import Turn

KEEP_TICKS_US = 45 * 86_400_000_000
SLACK_US = 86_400_000_000
PATIENCE = 4
"""Label horizons for which answers are kept when no outcome is heard at all."""


class Teller:
    """Stores a state of an episode and publishes it."""

    def __init__(self, history: History, announcer: Announcer, known: Known) -> None:
        self._history, self._announcer, self._known = history, announcer, known

    async def __call__(self, episode: Episode, cause: str) -> None:
        """Its cause is the event told before it, else what moved the watermark."""
        event_id = episode.event_id()
        before = await self._history.add_transition(episode, event_id, self._known.now_us())
        await self._history.save_episode(episode)
        await self._announcer.episode(episode, event_id, before or cause)


class Advance:
    """Moves one model's event time forward."""

    def __init__(
        self, stores: Stores, reports: Reports, join: Join, judging: Judging, teller: Teller, known: Known
    ) -> None:
        self._records, self._joins, self._history = stores.records, stores.joins, stores.history
        self._reports, self._join, self._judging, self._tell, self._known = reports, join, judging, teller, known

    async def model(self, model: str, cause: str) -> None:
        """To the present watermark. `cause` id of the event that moved it."""
        plan, policy = self._known.plan(model), self._known.policy(model)
        progress = await self._records.progress(model)
        streams = await self._records.streams(model)
        now = self._known.now_us()
        mark = watermark(streams, policy.lateness_s * 1_000_000, now, self._known.active_us)
        if mark is None:
            return
        before = int(progress["watermark"]) if "watermark" in progress else None
        mark = mark if before is None else max(mark, before)
        turn = Turn(model, plan, mark, progress, cause)
        turn.changes["watermark"] = str(mark)
        tick_us = policy.tick_s * 1_000_000
        if before is None or mark // tick_us > before // tick_us:
            turn.offsets = self._records.positions()
            await self._hour(turn)
        await self._due(turn)
        await self._records.save_progress(model, turn.changes)
        if plan is not None:
            await self._judging.model(plan, turn.watermark_us, cause)

    async def _hour(self, turn: Turn) -> None:
        """A tick has closed."""
        policy = self._known.policy(turn.model)
        await self._join.parked_entities(turn.model, turn.watermark_us)
        for seen, version in await self._reports.contract(turn):
            await self._step(turn, version, seen)
        for seen, version in await self._reports.data(turn):
            await self._step(turn, version, seen)
        await self._reports.revise(turn)
        horizon_us = policy.horizon_s * 1_000_000
        day = turn.watermark_us // 86_400_000_000
        if turn.progress.get("tidied") == str(day):
            return
        turn.changes["tidied"] = str(day)
        # Outcomes may lie unread in the log while predictions race ahead: nothing is given up that they could still
        # need.
        heard_us = int(turn.progress.get("outcome_us", 0))
        safe_us = min(turn.watermark_us, max(heard_us, turn.watermark_us - PATIENCE * horizon_us))
        expired = await self._joins.expire(turn.model, safe_us - horizon_us)
        await self._records.count(turn.model, {"outcomes_expired": expired})
        await self._joins.forget_answers(turn.model, safe_us - horizon_us - SLACK_US)
        await self._joins.forget_outcomes(turn.model, safe_us - 2 * horizon_us - SLACK_US)
        keep = max(KEEP_TICKS_US, 3 * policy.window_s * 1_000_000)
        await self._reports.forget(turn.model, turn.watermark_us - keep)

    async def _due(self, turn: Turn) -> None:
        """Windows whose outcomes are known by now: predictions and outcomes have both passed their end and the lag."""
        if "outcome_us" not in turn.progress:
            return
        policy = self._known.policy(turn.model)
        outcomes_us = int(turn.progress["outcome_us"]) - policy.lateness_s * 1_000_000
        due = min(turn.watermark_us, outcomes_us) - policy.lag_s * 1_000_000
        tick = due // (policy.tick_s * 1_000_000)
        if turn.progress.get("due") == str(tick):
            return
        turn.changes["due"] = str(tick)
        turn.offsets = turn.offsets or self._records.positions()
        for seen, version in await self._reports.performance(turn, due):
            await self._step(turn, version, seen)

    async def _step(self, turn: Turn, version: int, seen: Observed) -> None:
        """One window's finding moves the episode of its version and kind, if the version answers."""
        plan = turn.plan
        if plan is None or version not in plan.answering:
            return
        kind = seen.finding.kind
        opened = [e for e in await self._history.open_episodes(turn.model) if e.version == version and e.kind == kind]
        current = opened[0] if opened else None
        episode, told = step(current, seen, turn.model, version, plan.environment, plan.policy.confirm_windows)
        for state in told:
            await self._tell(state, turn.cause)
        if episode is not None and episode != current:
            await self._history.save_episode(episode)
