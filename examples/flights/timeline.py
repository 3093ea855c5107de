"""What happened, when and why, in event time: told from what the services recorded, decisions not to act included."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flights.watch import Picture
from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_common.times import from_proto

EVIDENCE = re.compile(r"loss differs by ([+-][\d.]+) over (\d+) paired rows")
KINDS = {
    events_pb2.DRIFT_KIND_DATA: "data",
    events_pb2.DRIFT_KIND_PREDICTION: "prediction",
    events_pb2.DRIFT_KIND_CONCEPT: "concept",
    events_pb2.DRIFT_KIND_PERFORMANCE: "performance",
    events_pb2.DRIFT_KIND_DATA_QUALITY: "data quality",
    events_pb2.DRIFT_KIND_FAIRNESS: "fairness",
}
STATES = {
    registry_pb2.ROLLOUT_STATE_PROPOSED: "proposed",
    registry_pb2.ROLLOUT_STATE_WAITING: "waiting",
    registry_pb2.ROLLOUT_STATE_SHADOW: "shadow",
    registry_pb2.ROLLOUT_STATE_CANARY: "canary",
    registry_pb2.ROLLOUT_STATE_GUARD: "champion, guarded",
    registry_pb2.ROLLOUT_STATE_PROMOTED: "champion",
    registry_pb2.ROLLOUT_STATE_ROLLED_BACK: "rolled back",
    registry_pb2.ROLLOUT_STATE_SUPERSEDED: "given up",
}


@dataclass(frozen=True)
class Moment:
    """One thing that happened or was decided. `event_time` is None for what a person did without one."""

    event_time: datetime | None
    at: datetime
    kind: str
    what: str
    why: str
    subject: str
    acted: bool = True

    def line(self) -> str:
        """One line for a person."""
        day = f"{self.event_time:%d %b}" if self.event_time else "      "
        return f"{day}  {self.what}: {self.why}" if self.why else f"{day}  {self.what}"


def moments(picture: Picture) -> list[Moment]:
    """Everything of the picture in the order in which it happened (wall time)."""
    found = [
        *(one for episode in picture.episodes for one in _of_episode(episode)),
        *(_of_decision(decision) for decision in picture.decisions),
        *(_of_run(run) for run in picture.runs if run.run.status not in ("queued", "running")),
        *(one for rollout in picture.rollouts for one in _of_rollout(rollout)),
    ]
    return sorted(found, key=lambda one: one.at)


def kind_of(episode: monitor_pb2.Episode) -> str:
    """The episode's kind in words."""
    return KINDS.get(episode.latest.kind, "unknown")


def features_of(episode: monitor_pb2.Episode) -> list[str]:
    """Names of the features that an episode blames, each once."""
    return list(dict.fromkeys(feature.feature for feature in episode.latest.features))


def _of_episode(episode: monitor_pb2.Episode) -> Iterable[Moment]:
    states = {
        events_pb2.EPISODE_STATE_CONFIRMED: "confirmed",
        events_pb2.EPISODE_STATE_RESOLVED: "resolved",
        events_pb2.EPISODE_STATE_SUPERSEDED: "closed, its version left the plan",
        events_pb2.EPISODE_STATE_OPENED: "suspected",
    }
    told: set[int] = set()
    for step in episode.transitions:
        if step.state in told:
            continue
        told.add(step.state)
        latest = episode.latest
        what = f"{kind_of(episode)} episode on version {latest.version} {states.get(step.state, 'changed')}"
        yield Moment(
            from_proto(step.watermark), _at(step.at), "episode", what, in_short(step.summary), latest.episode_id
        )


def _of_decision(decision: trainer_pb2.Decision) -> Moment:
    verbs = {"train": "trainer trains", "attach": "trainer attaches it to the run under way"}
    verbs |= {"wait": "trainer waits", "ignore": "trainer does not train"}
    what = verbs.get(decision.action, f"trainer decides {decision.action}")
    acted = decision.action == "train"
    when = from_proto(decision.watermark) if decision.HasField("watermark") else None
    return Moment(when, _at(decision.at), "decision", what, in_short(decision.reason), decision.cause, acted)


def _of_run(run: trainer_pb2.TrainingRun) -> Moment:
    when = from_proto(run.watermark) if run.HasField("watermark") else None
    if run.run.status == "succeeded":
        what, why = f"version {run.run.version} trained and past its gates", f"{run.run.snapshot.rows:,} rows"
        return Moment(when, _at(run.run.ended_at), "run", what, why, run.run.id)
    refused = next((gate for gate in run.gates if not gate.passed and gate.reason), None)
    why = in_short(run.run.error or (refused.reason if refused else ""))
    number = f"version {run.run.version} " if run.run.version else "candidate "
    word = {"rejected": "refused by its gates"}.get(run.run.status, run.run.status)
    return Moment(when, _at(run.run.ended_at), "run", f"{number}{word}", why, run.run.id, acted=False)


def _of_rollout(rollout: registry_pb2.Rollout) -> Iterable[Moment]:
    for step in rollout.steps:
        state = STATES.get(step.state, "changed")
        if step.state == registry_pb2.ROLLOUT_STATE_CANARY:
            state = f"canary at {step.weight / 100:g} %"
        if step.state == registry_pb2.ROLLOUT_STATE_GUARD:
            state = "champion by hand, guarded" if rollout.by_hand else "promoted, guarded"
        if step.state == registry_pb2.ROLLOUT_STATE_PROMOTED:
            state = "stays champion, guard over"
        acted = step.state != registry_pb2.ROLLOUT_STATE_SUPERSEDED
        when = from_proto(step.event_time) if step.HasField("event_time") else None
        what = f"version {rollout.version} {state}"
        yield Moment(when, _at(step.at), "rollout", what, in_short(step.reason), rollout.id, acted)


def evidence(step: registry_pb2.RolloutStep) -> str:
    """What a verdict rested on, in few words."""
    found = EVIDENCE.search(step.reason)
    return f"loss {found[1]} over {int(found[2]):,} pairs" if found else in_short(step.reason, 50)


def _at(stamp: Any) -> datetime:
    at = from_proto(stamp)
    assert at is not None, "every record carries its wall time"
    return at


def in_short(text: str, limit: int = 110) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
