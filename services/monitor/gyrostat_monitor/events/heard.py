"""What the monitor hears: frames, outcomes, plans, promotions, heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import telemetry
from gyrostat_common.bus import Received, Route, Tombstone
from gyrostat_common.errors import GyrostatError
from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.events import decoding
from gyrostat_monitor.usecases.archiving import Archiving
from gyrostat_monitor.usecases.observe import Observe
from gyrostat_monitor.usecases.outcomes import TakeInOutcomes
from gyrostat_monitor.usecases.plans import ApplyPlan

log = telemetry.get_logger("monitor")


class Pace:
    """At most one batch per interval: a larger batch costs little more than a small one. Wall time of the event
    loop.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = 0.0

    async def __call__(self) -> None:
        """Waits until the interval since the last call has passed."""
        loop = asyncio.get_running_loop()
        wait = self._next - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._next = loop.time() + self._interval_s


class Hears:
    """The loop's consumer: windows and join."""

    def __init__(self, observe: Observe, outcomes: TakeInOutcomes, plans: ApplyPlan, interval_s: float) -> None:
        self._observe, self._outcomes, self._plans = observe, outcomes, plans
        self._pace = Pace(interval_s)

    def routes(self) -> list[Route]:
        """Group "monitor"."""
        return [
            Route(pb.PredictionLogged, handle_batch=self._on_frames),
            Route(pb.OutcomeRecorded, handle_batch=self._on_outcomes),
            Route(pb.ModelPromoted, handle=self._on_promoted),
            Route(pb.PlanApplied, handle=self._on_applied),
        ]

    async def _on_frames(self, batch: list[Received]) -> None:
        frames = [decoding.frame(_prediction(r)) for r in batch]
        await self._pace()
        await self._observe.frames(frames, _positions(batch), batch[-1].event.id)

    async def _on_outcomes(self, batch: list[Received]) -> None:
        outcomes = [decoding.outcome(r) for r in batch]
        # No pace of its own: waiting here would hold up the frames, which move event time.
        await self._outcomes(outcomes, _positions(batch), batch[-1].event.id)

    async def _on_promoted(self, received: Received) -> None:
        m = received.event.payload
        assert isinstance(m, pb.ModelPromoted)
        # The plan, which comes as state, is what acts; this is the line in the log that says when it was heard.
        log.info("champion_changed", model=m.model, before=m.version_before, after=m.version_after, cause=m.cause)

    async def _on_applied(self, received: Received) -> None:
        m = received.event.payload
        assert isinstance(m, pb.PlanApplied)
        for v in m.versions:
            if not v.loaded and v.reason:
                log.debug("version_not_loaded", replica=m.replica, model=v.model, version=v.version, reason=v.reason)

    async def on_plan(self, received: Received | Tombstone) -> None:
        """serving.plan, as state."""
        if isinstance(received, Tombstone):
            return
        m = received.event.payload
        assert isinstance(m, pb.ServingPlan)
        plan = decoding.plan(m, received.event.correlation_id)
        if await self._plans(plan, received.event.id):
            log.info("plan_in_force", model=plan.model, revision=plan.revision, champion=plan.champion)


class Archives:
    """The archive's consumer, a group of its own."""

    def __init__(self, archiving: Archiving, interval_s: float) -> None:
        self._archiving = archiving
        self._frames, self._outcomes = Pace(interval_s), Pace(interval_s)

    def routes(self) -> list[Route]:
        """Group "monitor.archive"."""
        return [
            Route(pb.PredictionLogged, handle_batch=self._on_frames),
            Route(pb.OutcomeRecorded, handle_batch=self._on_outcomes),
        ]

    async def _on_frames(self, batch: list[Received]) -> None:
        frames = [decoding.frame(_prediction(r)) for r in batch]
        await self._frames()
        sampled = _sampled(batch, frames)
        if sampled:
            with telemetry.span("archive prediction.logged", links=sampled, attributes={"frames": len(frames)}):
                await self._archiving.frames(frames)
        else:
            await self._archiving.frames(frames)

    async def _on_outcomes(self, batch: list[Received]) -> None:
        outcomes = [decoding.outcome(r) for r in batch]
        await self._outcomes()
        await self._archiving.outcomes(outcomes)

    async def resolve(self, every_s: float) -> None:
        """Archives the outcomes that found their prediction by another name; for ever, since nothing announces them.

        By the clock and not after a batch: the last outcomes of a quiet model have no batch after them.
        """
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._archiving.resolved()
            except GyrostatError as error:
                log.warning("outcomes_not_archived_yet", detail=str(error)[:300])
            except Exception as error:  # the next look must come all the same
                log.error("outcomes_not_archived_yet", error=repr(error), exc_info=error)


def _prediction(received: Received) -> pb.PredictionLogged:
    payload = received.event.payload
    assert isinstance(payload, pb.PredictionLogged)
    return payload


def _positions(batch: Sequence[Received]) -> dict[str, int]:
    return {f"{r.topic}/{r.partition}": r.offset for r in batch}


def _sampled(batch: Sequence[Received], frames: Sequence[Frame]) -> list[str]:
    """Traces of sampled rows and of sampled sends."""
    parents = [r.event.traceparent for r in batch]
    parents += [t for f in frames for t in f.traces.values()]
    return [p for p in dict.fromkeys(parents) if p and telemetry.sampled(p)][: telemetry.MOST_LINKS]
