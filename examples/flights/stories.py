"""What happened, told short: one line for each candidate, from the episode that asked for it to what became of it.

The timeline has every step; a stranger wants to know what came of it. Pure, like `findings`. Next: `report`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flights import timeline
from flights.findings import Incident
from flights.watch import Picture
from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_client.explain import behind
from gyrostat_common.times import from_proto

SHORT = {"at the gate": "refused by a gate", "worse as": "worse in its roll-out", "undecided": "given up undecided"}
LIVE = (registry_pb2.ROLLOUT_STATE_GUARD, registry_pb2.ROLLOUT_STATE_PROMOTED)


@dataclass(frozen=True)
class Story:
    """One line. `matters`: 0 a change of champion or an incident, 1 a candidate that did not make it, 2 a wait."""

    at: datetime
    text: str
    matters: int

    def line(self) -> str:
        """With its day."""
        return f"{self.at:%d %b}  {self.text}"


def tell(picture: Picture, incidents: list[Incident]) -> list[Story]:
    """Every story in event time."""
    episodes = {episode.latest.episode_id: episode for episode in picture.episodes}
    rollouts = {rollout.version: rollout for rollout in picture.rollouts}
    told = [
        _of_run(run, episodes, rollouts.get(run.run.version))
        for run in sorted(picture.runs, key=lambda run: run.run.started_at.ToMicroseconds())[1:]
        if run.run.status not in ("queued", "running")
    ]
    waits = _waits(picture)
    return sorted([*told, *waits, *(_of_incident(one, picture) for one in incidents)], key=lambda one: one.at)


def chosen(stories: list[Story], room: int) -> list[str]:
    """At most `room` lines: what matters least is drawn together first, never left out."""
    kept = [one for one in stories if one.matters == 0]
    rest = [one for one in stories if one.matters > 0]
    if len(stories) <= room:
        return [one.line() for one in stories]
    single = max(room - len(kept) - 1, 0)
    candidates = [one for one in rest if one.matters == 1]
    alone = candidates[-single:] if single and len(candidates) <= single else candidates[:single]
    together = [one for one in rest if one not in alone]
    lines = [one.line() for one in sorted([*kept, *alone], key=lambda one: one.at)][: room - bool(together)]
    if together:
        lines.append("Not acted on, or not promoted: " + _days(together))
    return lines


def _days(stories: list[Story]) -> str:
    """Stories in few words: the days by what was decided."""
    by_reason: dict[str, list[str]] = {}
    for one in stories:
        said = {
            "at the gate": "refused by a gate",
            "worse as": "worse in its roll-out",
            "undecided": "given up undecided",
        }
        key = next((short for word, short in said.items() if word in one.text), one.text)
        by_reason.setdefault(key, []).append(f"{one.at:%d %b}")
    return "; ".join(f"{', '.join(dict.fromkeys(days))} {reason}" for reason, days in by_reason.items()) + "."


def _of_run(
    run: trainer_pb2.TrainingRun,
    episodes: dict[str, monitor_pb2.Episode],
    rollout: registry_pb2.Rollout | None,
) -> Story:
    at = _time(run.watermark)
    cause = next((episodes[one] for one in run.run.causes if one in episodes), None)
    begin = f"{_cause(cause)}: version {run.run.version or '-'}"
    if run.run.status != "succeeded" or rollout is None:
        return Story(at, f"{begin} {_ending(run)}", 1)
    live = next((step for step in rollout.steps if step.state in LIVE), None)
    last = rollout.steps[-1]
    rows = f"{run.run.snapshot.rows:,} flights"
    if live is None:
        worse = f"not promoted: worse as {_stage(rollout)} ({timeline.evidence(last)})"
        fate = {
            registry_pb2.ROLLOUT_STATE_ROLLED_BACK: worse,
            registry_pb2.ROLLOUT_STATE_SUPERSEDED: "given up undecided, a newer one or a person was faster",
        }.get(rollout.state, f"still in {timeline.STATES.get(rollout.state, 'roll-out')}")
        return Story(at, f"{begin} trained on {rows}, {fate}", 1)
    text = f"{begin} trained on {rows}, live {_time(live.event_time):%d %b} ({timeline.evidence(live)})"
    if rollout.state == registry_pb2.ROLLOUT_STATE_ROLLED_BACK:
        text += f", taken back {_time(last.event_time):%d %b} ({timeline.evidence(last)})"
    return Story(at, text, 0)


def _ending(run: trainer_pb2.TrainingRun) -> str:
    if run.run.status == "rejected":
        refused = next((gate for gate in run.gates if not gate.passed and gate.reason), None)
        return f"refused at the gate ({timeline.in_short(refused.reason if refused else run.run.error, 60)})"
    if run.run.status == "succeeded":
        return "trained, no roll-out"
    return f"{run.run.status}: {timeline.in_short(run.run.error, 60)}"


def _cause(episode: monitor_pb2.Episode | None) -> str:
    if episode is None:
        return "by hand"
    if episode.latest.kind == events_pb2.DRIFT_KIND_DATA:
        step = behind(episode, "")
        told = step.told if step is not None and step.HasField("told") else episode.latest
        return f"inputs moved ({', '.join(dict.fromkeys(one.feature for one in told.features[:2]))})"
    return f"{timeline.kind_of(episode)} changed"


def _stage(rollout: registry_pb2.Rollout) -> str:
    canary = any(step.state == registry_pb2.ROLLOUT_STATE_CANARY for step in rollout.steps)
    return "canary" if canary else "shadow"


def _waits(picture: Picture) -> list[Story]:
    """What the trainer decided not to act on, and why: each decision of that kind once a day."""
    episodes = {episode.latest.episode_id: episode for episode in picture.episodes}
    found: dict[str, Story] = {}
    for decision in picture.decisions:
        text = _wait(decision, episodes.get(decision.cause))
        if text and decision.HasField("watermark"):
            story = Story(_time(decision.watermark), text, 2)
            found[story.line()] = story
    return list(found.values())


def _wait(decision: trainer_pb2.Decision, episode: monitor_pb2.Episode | None) -> str:
    """A decision not to train, in few words; empty for one that acted, or that only says that a wait is over."""
    if decision.action not in ("wait", "ignore", "attach"):
        return ""
    if decision.action == "attach":
        return "joined the training under way"
    if episode is not None and episode.latest.kind == events_pb2.DRIFT_KIND_DATA_QUALITY:
        over = (events_pb2.EPISODE_STATE_RESOLVED, events_pb2.EPISODE_STATE_SUPERSEDED)
        ended = [step.watermark.ToMicroseconds() for step in episode.transitions if step.state in over]
        if ended and decision.watermark.ToMicroseconds() >= min(ended):
            return ""
        return f"no training while {_broken(episode)}"
    if "cooling down" in decision.reason:
        return "no training: cooling down"
    if "left the plan" in decision.reason or "the episode is about version" in decision.reason:
        return "no training: about a version that answers no more"
    return f"no training: {timeline.in_short(decision.reason, 60)}"


def _broken(episode: monitor_pb2.Episode) -> str:
    """What was wrong with the data, in few words."""
    names = timeline.features_of(episode)
    blamed = ", ".join(names[:2]) + (" and others" if len(names) > 2 else "")
    kinds = {feature.statistic for feature in episode.latest.features}
    words = {"jump_sd": "jumped", "missing_share": "were missing", "out_of_range_share": "were out of range"}
    return f"{blamed or 'the data'} {next((words[kind] for kind in words if kind in kinds), 'looked broken')}"


def _of_incident(incident: Incident, picture: Picture) -> Story:
    at = incident.at or datetime.max.replace(tzinfo=UTC)
    prefix = {"celsius": "INCIDENT weather feed in Celsius", "release": "INCIDENT careless release by hand"}
    return Story(at, f"{prefix.get(incident.name, incident.name)}: {incident.found}", 0)


def _time(stamp: Any) -> datetime:
    return from_proto(stamp) or datetime.min.replace(tzinfo=UTC)
