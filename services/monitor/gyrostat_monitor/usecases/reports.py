"""Closes windows from ticks: reports for queries, findings for episodes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gyrostat_monitor.domain import contract, drift, jump, performance
from gyrostat_monitor.domain.episodes import Observed
from gyrostat_monitor.domain.findings import Finding, Kind
from gyrostat_monitor.domain.frames import ANSWER
from gyrostat_monitor.domain.policy import DAY_S, Policy
from gyrostat_monitor.domain.quality import QualitySums, added
from gyrostat_monitor.domain.ticks import Layout, Tick, total
from gyrostat_monitor.domain.windows import Span, Window, cut
from gyrostat_monitor.usecases.jumps import Jumps
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Counts
from gyrostat_monitor.usecases.turn import Turn

Seen = tuple[Observed, int]
"""What a window says, and of which version."""


class Reports:
    """Inside a transaction of its caller."""

    def __init__(self, counts: Counts, known: Known, jumps: Jumps) -> None:
        self._counts, self._known, self._jumps = counts, known, jumps

    async def _cut(self, turn: Turn, version: int, name: str, width_s: int, min_rows: int) -> tuple[Span, ...]:
        """Windows of a version that the watermark has passed since the last time."""
        cursor = turn.cursor(f"{name}/{version}")
        rows = await self._counts.tick_rows(turn.model, version, cursor or 0)
        result = cut(rows, cursor, turn.watermark_us, width_s * 1_000_000, min_rows)
        if result.cursor_us is not None and result.cursor_us != cursor:
            turn.changes[f"{name}/{version}"] = str(result.cursor_us)
        return result.closed

    def _versions(self, turn: Turn) -> list[int]:
        """Versions with ticks that are in no closed window yet, unless they ended long ago."""
        policy = self._known.policy(turn.model)
        width_us = max(policy.window_s, 7 * DAY_S) * 1_000_000
        out = []
        for version in turn.versions_since(turn.watermark_us - 4 * width_us):
            closed = min(turn.cursor(f"{name}/{version}") or 0 for name in ("data", "contract"))
            if int(turn.progress[f"last/{version}"]) >= closed:
                out.append(version)
        return out

    async def _total(self, model: str, version: int, span: Span) -> tuple[Layout, Tick]:
        layout = await self._known.layout(model, version)
        found = await self._counts.ticks(model, version, span, layout.key)
        return layout, total(layout, (found[t] for t in sorted(found)))

    async def contract(self, turn: Turn) -> list[Seen]:
        """Sub-windows against the data contract, in order of their end, with the jumps known by then."""
        policy = self._known.policy(turn.model)
        spans = [
            (span.end_us, version, span)
            for version in self._versions(turn)
            for span in await self._cut(turn, version, "contract", policy.contract_s, policy.contract_rows)
        ]
        out: list[Seen] = []
        for end_us, version, span in sorted(spans, key=lambda s: (s[0], s[1])):
            state = await self._jumps.until(turn, end_us)
            layout, tick = await self._total(turn.model, version, span)
            finding = self._contract_finding(layout, tick, state)
            out.append((self._observed(turn, span, tick, finding), version))
        await self._jumps.until(turn, turn.watermark_us // (policy.tick_s * 1_000_000) * policy.tick_s * 1_000_000)
        return out

    def _contract_finding(self, layout: Layout, tick: Tick, state: jump.JumpState) -> Finding:
        profile = layout.profile
        jumps = jump.statistics(state, profile) if profile else ()
        broken = contract.violations(profile, layout, tick)
        nearly = contract.violations(profile, layout, tick, drift.HYSTERESIS)
        evidence = (*jumps, *broken)
        since = min((j.since_us for j in state.active.values()), default=None) if jumps else None
        effect = max((abs(s.value) for s in evidence), default=0.0)
        words = "; ".join(s.text for s in evidence[:4])
        return Finding(
            Kind.DATA_QUALITY, bool(evidence), not evidence and not nearly, effect, min(1.0, effect), evidence,
            f"Data contract broken: {words}" if evidence else "The data contract holds", since,
        )  # fmt: skip

    async def data(self, turn: Turn) -> list[Seen]:
        """Windows against the profile; each becomes a report."""
        policy = self._known.policy(turn.model)
        out: list[Seen] = []
        for version in self._versions(turn):
            for span in await self._cut(turn, version, "data", policy.window_s, policy.min_window_rows):
                layout, tick = await self._total(turn.model, version, span)
                stats = drift.statistics(layout.profile, layout, tick, policy) if layout.profile else ()
                await self._counts.save_window(
                    Window(turn.model, version, span, tick.rows, 1, False, {"statistics": [asdict(s) for s in stats]})
                )
                for finding in drift.findings(stats, policy) if stats else ():
                    out.append((self._observed(turn, span, tick, finding), version))
        return sorted(out, key=lambda s: (s[0].span.end_us, s[1]))

    async def performance(self, turn: Turn, due_us: int) -> list[Seen]:
        """Windows whose outcomes are due: realised quality into the report, and the verdict on the loss."""
        policy = self._known.policy(turn.model)
        out: list[Seen] = []
        for window in await self._counts.unjudged_windows(turn.model, due_us):
            sums = await self._quality(window)
            await self._save_again(window, window.report["statistics"], sums, policy, judged=True)
            profile = (await self._known.layout(turn.model, window.version)).profile
            if profile is None or profile.loss is None:
                continue
            width_s = (window.span.end_us - window.span.start_us) / 1e6
            finding = performance.finding(profile.loss, sums, width_s, policy)
            worst = tuple(row for _, row in sums.worst)
            seen = Observed(window.span, sums.outcomes, turn.watermark_us, finding, worst, turn.offsets)
            out.append((seen, window.version))
        return out

    async def revise(self, turn: Turn) -> None:
        """Late rows: reports of closed windows are made again, with the next revision."""
        policy = self._known.policy(turn.model)
        for window in await self._counts.stale_windows(turn.model):
            layout, tick = await self._total(turn.model, window.version, window.span)
            stats = drift.statistics(layout.profile, layout, tick, policy) if layout.profile else ()
            sums = await self._quality(window) if window.judged else None
            await self._save_again(
                Window(window.model, window.version, window.span, tick.rows, window.revision, window.judged,
                window.report),
                [asdict(s) for s in stats], sums, policy, judged=window.judged,
            )  # fmt: skip

    async def _save_again(
        self, window: Window, stats: Any, sums: QualitySums | None, policy: Policy, *, judged: bool
    ) -> None:
        report: dict[str, Any] = {"statistics": stats}
        if sums is not None:
            report |= {"outcomes": sums.outcomes, "quality": sums.metrics(policy.task)}
            report["quality"]["mean_loss"] = sums.mean("loss")
        again = Window(
            window.model, window.version, window.span, window.rows, window.revision + 1, judged, report
        )  # fmt: skip
        await self._counts.save_window(again)

    async def _quality(self, window: Window) -> QualitySums:
        found = await self._counts.quality(window.model, window.span, window.version)
        return added(sums for (_, _, role, _), sums in found if role == ANSWER)

    def _observed(self, turn: Turn, span: Span, tick: Tick, finding: Finding) -> Observed:
        rows = tuple(row for _, row in tick.exemplars)
        return Observed(span, tick.rows, turn.watermark_us, finding, rows, turn.offsets)

    async def forget(self, model: str, before_us: int) -> None:
        """Ticks that no window needs."""
        await self._counts.drop_ticks(model, before_us)
