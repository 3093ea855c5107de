"""What the run showed: promotions with the chain behind them, the incidents, and whether the demo kept its hands off.

Pure: reads the last look at the system and the ledger, decides nothing, hides nothing. Next: `report` words it.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from flights import timeline
from flights.incidents import FAHRENHEIT_INPUTS, Incidents
from flights.policy import ACTOR, MODEL, OPERATOR
from flights.replay import Ledger
from flights.traffic import Traffic
from flights.watch import Facts
from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_client.explain import behind
from gyrostat_common.times import from_proto

# After the first promotion none of these may come from the demo.
STEERING: Final = (
    "StartTraining",
    "CancelTraining",
    "StartRollout",
    "Promote",
    "Rollback",
    "ApproveRollout",
    "SetAutopilot",
    "RetireModel",
)
LIVE: Final = (registry_pb2.ROLLOUT_STATE_GUARD, registry_pb2.ROLLOUT_STATE_PROMOTED)


@dataclass(frozen=True)
class Promotion:
    """A version became champion. Times are event time unless they say wall."""

    version: int
    from_version: int
    at: datetime | None
    wall: datetime
    by_hand: bool
    taken_back: bool
    episode: str
    chain: list[str]
    seconds_to_live: float | None
    flights_to_live: int | None


@dataclass(frozen=True)
class Incident:
    """What became of one declared incident."""

    name: str
    expected: str
    caught: bool
    found: str
    numbers: dict[str, float] = field(default_factory=dict)
    at: datetime | None = None


def promotions(facts: Facts, ledger: Ledger, traffic: Traffic) -> list[Promotion]:
    """Every change of champion after the first, oldest first."""
    found = []
    for rollout in sorted(facts.picture.rollouts, key=lambda one: one.created_at.ToMicroseconds()):
        live = next((step for step in rollout.steps if step.state in LIVE), None)
        if live is not None and rollout.from_version:
            found.append(_promotion(facts, ledger, traffic, rollout, live))
    return found


def _promotion(
    facts: Facts, ledger: Ledger, traffic: Traffic, rollout: registry_pb2.Rollout, live: registry_pb2.RolloutStep
) -> Promotion:
    run = next((run for run in facts.picture.runs if run.run.version == rollout.version), None)
    causes = [rollout.cause, rollout.correlation_id, *(run.run.causes if run else [])]
    known = {episode.latest.episode_id: episode for episode in facts.picture.episodes}
    episode = next((known[cause] for cause in causes if cause in known), None)
    wall = from_proto(live.at)
    assert wall is not None, "every step carries its wall time"
    confirmed = _confirmed(episode) if episode else None
    to_live = (wall - _wall(confirmed)).total_seconds() if confirmed else None
    return Promotion(
        version=rollout.version,
        from_version=rollout.from_version,
        at=from_proto(live.event_time) if live.HasField("event_time") else None,
        wall=wall,
        by_hand=rollout.by_hand,
        taken_back=rollout.state == registry_pb2.ROLLOUT_STATE_ROLLED_BACK,
        episode=episode.latest.episode_id if episode else "",
        chain=_chain(rollout, live, run, _told(facts, rollout.version, episode) if episode else None),
        seconds_to_live=to_live,
        flights_to_live=_flights_between(confirmed, rollout.version, ledger, traffic) if confirmed else None,
    )


def _confirmed(episode: monitor_pb2.Episode) -> monitor_pb2.Episode.Transition | None:
    states = (one for one in episode.transitions if one.state == events_pb2.EPISODE_STATE_CONFIRMED)
    return next(states, None)


def _wall(step: monitor_pb2.Episode.Transition) -> datetime:
    at = from_proto(step.at)
    assert at is not None, "every transition carries its wall time"
    return at


def _flights_between(
    confirmed: monitor_pb2.Episode.Transition, version: int, ledger: Ledger, traffic: Traffic
) -> int | None:
    """Flights answered from the confirmation until the version first answered as champion."""
    as_champion = np.flatnonzero((ledger.versions == version) & (ledger.variants == "champion"))
    if not len(as_champion):
        return None
    times = traffic.flights.event_us
    return int(((times >= confirmed.watermark.ToMicroseconds()) & (times < times[as_champion[0]])).sum())


def _chain(
    rollout: registry_pb2.Rollout,
    live: registry_pb2.RolloutStep,
    run: trainer_pb2.TrainingRun | None,
    episode: events_pb2.DriftDetected | None,
) -> list[str]:
    """From effect to cause, one link a string; a missing link is named."""
    chain = [f"version {rollout.version} champion (plan revision {live.plan_revision})", f"roll-out {rollout.id}"]
    if run is None:
        return [*chain, "no run: pushed by hand" if rollout.by_hand else "MISSING: its run"]
    snapshot = run.run.snapshot
    rows = f"{snapshot.rows:,} rows, sha256 {snapshot.sha256[:12]}" if snapshot.sha256 else "MISSING: its snapshot"
    chain += [f"run {run.run.id}", f"snapshot of {rows}"]
    if episode is None:
        return [*chain, f"trigger: {rollout.cause}"]
    chain.append(f"{timeline.KINDS.get(episode.kind, 'unknown')} episode {episode.episode_id}")
    exemplars = list(episode.exemplars[:2])
    return [*chain, f"predictions {', '.join(exemplars)}" if exemplars else "MISSING: exemplar predictions"]


def _told(facts: Facts, version: int, episode: monitor_pb2.Episode) -> events_pb2.DriftDetected:
    """The episode as it was told when the training of a version acted on it: later windows name later predictions."""
    made = next((one for one in facts.versions if one.number == version), None)
    step = behind(episode, made.causation_id if made else "")
    return step.told if step is not None and step.HasField("told") else episode.latest


def celsius(facts: Facts, incidents: Incidents, tainted: dict[str, int]) -> Incident | None:
    """Whether the change of unit was named, and kept out of every training: `tainted` is run id -> rows it learned."""
    if incidents.celsius_from is None or incidents.celsius_to is None:
        return None
    start, end = incidents.celsius_from, incidents.celsius_to
    expected = f"a data-quality episode naming {' and '.join(FAHRENHEIT_INPUTS)}; no retraining on those rows"
    named = [
        episode
        for episode in facts.picture.episodes
        if episode.latest.kind == events_pb2.DRIFT_KIND_DATA_QUALITY
        and start - timedelta(days=2) <= _started(episode) <= end
        and set(FAHRENHEIT_INPUTS) <= set(timeline.features_of(episode))
    ]
    learned = sum(tainted.values())
    numbers = {"rows_learned": float(learned), "runs_afterwards": float(len(tainted))}
    if not named:
        return Incident("celsius", expected, False, "no data-quality episode named both inputs", numbers, start)
    first = min(named, key=_started)
    numbers["hours_to_first_window"] = round((_started(first) - start).total_seconds() / 3_600, 1)
    clean = (
        f"{len(tainted)} later trainings took none of those rows" if not learned else f"but {learned:,} were trained on"
    )
    blamed = ", ".join(timeline.features_of(first))
    found = f"data-quality episode from {_started(first):%d %b} naming {blamed}; {clean}"
    return Incident("celsius", expected, not learned, found, numbers, start)


def _started(episode: monitor_pb2.Episode) -> datetime:
    started = from_proto(episode.latest.started_at)
    assert started is not None, "every episode says when it began"
    return started


def release(facts: Facts, ledger: Ledger, version: int | None, at: datetime | None) -> Incident | None:
    """Whether the version that was to be released by hand at `at` was taken back, and how many answers it gave before.

    None when no release was planned.
    """
    if at is None:
        return None
    expected = "taken back"
    if version is None:
        return Incident("release", expected, False, "the version was never released", {}, at)
    answers = int((ledger.versions == version).sum())
    rollout = next((one for one in facts.picture.rollouts if one.version == version), None)
    back = rollout is not None and rollout.state == registry_pb2.ROLLOUT_STATE_ROLLED_BACK
    numbers = {"answers": float(answers), "version": float(version)}
    if rollout is None or not back:
        state = timeline.STATES.get(rollout.state, "unknown") if rollout else "never rolled out"
        text = f"version {version} is {state}; {answers:,} answers so far"
        return Incident("release", expected, False, text, numbers, at)
    last = rollout.steps[-1]
    on = f" on {from_proto(last.event_time):%d %b}" if last.HasField("event_time") else ""
    found = f"version {version} was taken back{on} after {answers:,} answers ({timeline.evidence(last)})"
    return Incident("release", expected, True, found, numbers, at)


def steering(facts: Facts, first_version_audit: int, released: int | None = None) -> list[str]:
    """Calls by which the demo steered after the first promotion: must be empty.

    The operator of the declared incident is the demo too, and may promote the version `released` once, nothing more.
    The log must hold the training that the demo did ask for, before: one that cannot hold any proves nothing.
    """
    began = [one for one in facts.audit if one.actor == ACTOR and one.action == "StartTraining"]
    deaf = [] if any(one.number <= first_version_audit for one in began) else ["the first training is not in the log"]
    ours = [one for one in facts.audit if one.actor in (ACTOR, OPERATOR) and one.number > first_version_audit]
    calls = [(entry.actor, f"{entry.action} {entry.subject}") for entry in ours if entry.action in STEERING]
    declared = (OPERATOR, f"Promote {MODEL}:{released}")
    if declared in calls:
        calls.remove(declared)
    episodes = {episode.latest.episode_id for episode in facts.picture.episodes}
    later = sorted(facts.picture.runs, key=lambda run: run.run.started_at.ToMicroseconds())[1:]
    by_hand = [f"training {run.run.id}" for run in later if not set(run.run.causes) & episodes]
    return [call for _, call in calls] + by_hand + deaf
