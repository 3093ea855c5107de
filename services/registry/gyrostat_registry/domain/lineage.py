"""The chain behind a version: promotion ← roll-out ← version ← run ← rows ← episode ← predictions, effect to cause.

A link that cannot be found is named, never left out in silence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gyrostat_registry.domain.evidence import Episode, Judgement, Promotion, TrainingEnd
from gyrostat_registry.domain.rollout import Rollout
from gyrostat_registry.domain.run import Run
from gyrostat_registry.domain.version import Version

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Node:
    """One fact. `at` is wall time."""

    kind: str
    id: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """All that was found about one version."""

    version: Version
    stage: str
    run: Run | None = None
    trainings: tuple[TrainingEnd, ...] = ()
    episodes: tuple[Episode, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    parent: Version | None = None


def chain(facts: Facts) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """The nodes from effect to cause, and the missing links in words."""
    nodes = [*_promotions(facts), *_rollouts(facts), *_version(facts), *_run(facts), *_causes(facts), *_parent(facts)]
    return tuple(nodes), tuple(_missing(facts))


def causes(facts_version: Version, run: Run | None) -> tuple[str, ...]:
    """Every cause that is named for a version, its own first, each once."""
    named = [facts_version.cause, *(run.causes if run else ())]
    return tuple(dict.fromkeys(cause for cause in named if cause))


def _promotions(facts: Facts) -> Iterator[Node]:
    for change in facts.promotions:
        words = f"{change.change}: {change.version_before or 'none'} → {change.version_after or 'none'}"
        text = f"{words} in {change.environment} at plan revision {change.plan_revision} by {change.actor}"
        text += f"; {change.evidence}" if change.evidence else ""
        text += f"; caused by event {change.causation_id}" if change.causation_id else ""
        yield Node("promotion", f"{change.environment}/{change.model}@{change.plan_revision}", text, change.at)


def _rollouts(facts: Facts) -> Iterator[Node]:
    for rollout in facts.rollouts:
        path = " → ".join(
            f"{step.state} {step.weight / 100:g} %" if step.state == "canary" else str(step.state)
            for step in rollout.steps
        )
        last = rollout.steps[-1].reason if rollout.steps else ""
        text = f"{path}; {last}; judged {sum(j.rollout_id == rollout.id for j in facts.judgements)} times"
        yield Node("rollout", rollout.id, text, rollout.created_at)
        for judgement in facts.judgements:
            if judgement.rollout_id == rollout.id and judgement.outcome.split(":")[0] != "stay":
                said = judgement.summary or "; ".join(judgement.guards)
                text = f"{judgement.verdict} on {judgement.paired_rows} paired rows: {said}"
                yield Node("judgement", judgement.event_id, text, judgement.at)


def _version(facts: Facts) -> Iterator[Node]:
    version = facts.version
    gates = ", ".join(f"{gate.gate} {'passed' if gate.passed else 'refused'}" for gate in version.gates)
    text = f"{facts.stage}; registered by {version.created_by}; gates: {gates or 'not judged'}"
    yield Node("version", f"{version.model}:{version.number}", text, version.created_at)
    size = f"{version.artifact.size_bytes} bytes at {version.artifact.uri}"
    yield Node("artifact", version.artifact.sha256, size, version.created_at)


def _run(facts: Facts) -> Iterator[Node]:
    run = facts.run
    if run is None:
        return
    text = f"{run.status}; code {run.code_digest or 'unknown'}, environment {run.environment_digest or 'unknown'}"
    yield Node("run", run.id, text, run.started_at)
    for training in facts.trainings:
        text = f"training.finished: {training.status}, candidate {training.candidate_version or 'none'}"
        yield Node("training", training.event_id, text, training.at)
    if run.snapshot is not None:
        rows = run.snapshot
        span = f"{_day(rows.event_time_from)} to {_day(rows.event_time_to)}"
        tables = ", ".join(f"{name} at version {number}" for name, number in sorted(rows.tables.items()))
        left_out = f"; left out: {'; '.join(rows.excluded)}" if rows.excluded else ""
        text = f"{rows.rows} rows, {span}; {tables or 'no table named'}; filter: {rows.filter or 'none'}{left_out}"
        yield Node("snapshot", rows.sha256 or run.id, text)


def _causes(facts: Facts) -> Iterator[Node]:
    known = {episode.id: episode for episode in facts.episodes}
    for cause in causes(facts.version, facts.run):
        episode = known.get(cause)
        if episode is None:
            if not _UUID.fullmatch(cause):
                yield Node("trigger", cause, "not an episode: a trigger or a person")
            continue
        states = " → ".join(heard.state for heard in episode.heard)
        behind = episode.behind(facts.version.causation_id)
        text = f"{episode.kind} of version {episode.version}, {states}"
        text += f"; {behind.summary if behind and behind.summary else 'no summary'}"
        if behind and behind.features:
            text += f"; features: {', '.join(behind.features[:5])}"
        if behind and behind.exemplars:
            text += f"; predictions that show it: {', '.join(behind.exemplars[:10])}"
        yield Node("episode", episode.id, text, behind.at if behind else None)


def _parent(facts: Facts) -> Iterator[Node]:
    if facts.parent is not None:
        parent = facts.parent
        yield Node("parent", f"{parent.model}:{parent.number}", "champion when it was registered", parent.created_at)


def _missing(facts: Facts) -> Iterator[str]:
    """What an auditor would ask for and does not find, a line each."""
    yield from _missing_origin(facts)
    yield from _missing_causes(facts)
    yield from _missing_moves(facts)


def _missing_origin(facts: Facts) -> Iterator[str]:
    version = facts.version
    if not version.run_id:
        yield "run: the version was registered without one, so its rows and code are unknown"
    elif facts.run is None:
        yield f"run {version.run_id}: the registry has no record of it"
    elif facts.run.snapshot is None:
        yield f"snapshot: run {facts.run.id} named no rows"


def _missing_causes(facts: Facts) -> Iterator[str]:
    known = {episode.id: episode for episode in facts.episodes}
    named = causes(facts.version, facts.run)
    if not named:
        yield "cause: none was named when the version was registered"
    for cause in named:
        behind = known[cause].behind(facts.version.causation_id) if cause in known else None
        if cause in known and not (behind and behind.exemplars):
            yield f"predictions: episode {cause} named none that show it"
        elif cause not in known and _UUID.fullmatch(cause):
            yield f"episode {cause}: no drift.detected record of it was heard"


def _missing_moves(facts: Facts) -> Iterator[str]:
    if not facts.rollouts:
        yield "roll-out: none was started for the version"
    elif not facts.promotions:
        yield "promotion: the version has never been champion"
    for change in facts.promotions:
        judged = any(j.event_id == change.causation_id for j in facts.judgements)
        if change.causation_id and not judged:
            yield f"judgement: event {change.causation_id}, cause of a promotion, is not on record"


def _day(at: datetime | None) -> str:
    return at.date().isoformat() if at else "unknown"
