"""Why did this version answer this? Walks prediction → version → run → dataset snapshot → episode → exemplar
predictions → promotion, over registry and monitor, and names every link that is missing.

`explain` gives a tree of Links, `missing` the gaps in it. Nothing is guessed: a link is there if a service says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client.client import AsyncClient
from gyrostat_client.plain import word
from gyrostat_client.references import is_prediction_id, parse
from gyrostat_common.errors import GyrostatError, NotFound
from gyrostat_common.times import from_proto, to_rfc3339

_EXEMPLARS = 3


@dataclass(frozen=True)
class Link:
    """One fact of the chain with the facts behind it. A missing one says why in `text`."""

    kind: str
    id: str
    text: str
    at: datetime | None = None
    missing: bool = False
    links: tuple["Link", ...] = ()


async def explain(client: AsyncClient, text: str) -> Link:
    """The chain behind a prediction id or a version; NotFound when there is no such thing."""
    if is_prediction_id(text):
        return await _prediction(client, text.strip().lower())
    named = parse(text)
    return await _version(client, await client.versions.get(str(named)))


def missing(root: Link) -> Iterator[Link]:
    """The gaps of a chain, top down."""
    if root.missing:
        yield root
    for link in root.links:
        yield from missing(link)


async def _prediction(client: AsyncClient, prediction_id: str) -> Link:
    found = await client.quality.prediction(prediction_id)
    if not found.answers:
        raise NotFound(f"the archive holds no answer to {prediction_id}; it may not be archived yet")
    answers = [answer for answer in found.answers if answer.role == events_pb2.ROLE_ANSWER]
    shadows = sorted({answer.version for answer in found.answers if answer.role == events_pb2.ROLE_SHADOW})
    links = [_outcome(outcome) for outcome in found.outcomes]
    if not answers:
        return Link(
            "prediction",
            found.id,
            f"of {found.model}",
            links=(*links, Link("answer", "", "no answer to it is in the archive, only shadows", missing=True)),
        )
    answer = answers[0]
    also = f"; also scored by {', '.join(f'{found.model}:{number}' for number in shadows)}" if shadows else ""
    if again := sum(other.repeated for other in answers):
        also += f"; asked again with this id {again} time{'s' * (again > 1)}, answered and not counted"
    text = (
        f"answered by {found.model}:{answer.version} ({answer.variant}, plan revision {answer.plan_revision}): "
        f"{_short(answer.outputs_json)}{also}"
    )
    return Link(
        "prediction",
        found.id,
        text,
        from_proto(answer.event_time),
        links=(*links, await _version_named(client, found.model, answer.version)),
    )


def _outcome(outcome: monitor_pb2.JoinedOutcome) -> Link:
    counts = "" if outcome.winner else ", does not count"
    source = f" from {outcome.source}" if outcome.source else ""
    return Link("outcome", outcome.event_id, f"{outcome.value:g}{source}{counts}", from_proto(outcome.observed_at))


async def _version_named(client: AsyncClient, model: str, number: int) -> Link:
    try:
        version = await client.versions.get(f"{model}:{number}")
    except GyrostatError as error:
        return Link("version", f"{model}:{number}", str(error), missing=True)
    return await _version(client, version)


async def _version(client: AsyncClient, version: model_pb2.ModelVersion) -> Link:
    name = f"{version.model}:{version.number}"
    gates = f", gates {sum(gate.passed for gate in version.gates)}/{len(version.gates)} passed" if version.gates else ""
    text = (
        f"{word(version, 'stage')}, sha256 {version.artifact.sha256[:12]}{gates}, by {version.created_by or 'unknown'}"
    )
    return Link(
        "version",
        name,
        text,
        from_proto(version.created_at),
        links=(*await _origin(client, version), await _promotion(client, version)),
    )


async def _origin(client: AsyncClient, version: model_pb2.ModelVersion) -> tuple[Link, ...]:
    """The run with its snapshot and causes; for a version pushed by hand, who pushed it."""
    causes = [version.cause] if version.cause else []
    if not version.run_id:
        by = version.cause or version.created_by or "unknown"
        return (
            Link("trigger", by, f"pushed by hand by {by}; no run, no snapshot"),
            *[await _cause(client, cause, version.causation_id) for cause in causes if _is_uuid(cause)],
        )
    try:
        run = await client.runs.recorded(version.run_id)
    except GyrostatError as error:
        return (
            Link("run", version.run_id, str(error), missing=True),
            *[await _cause(client, cause, version.causation_id) for cause in causes],
        )
    links = [_snapshot(run)]
    named = dict.fromkeys([*causes, *run.causes])
    links += [await _cause(client, cause, version.causation_id) for cause in named]
    return (Link("run", run.id, _run_text(run), from_proto(run.started_at), links=tuple(links)),)


def _run_text(run: model_pb2.Run) -> str:
    code = f", code {run.code_digest[:12]}" if run.code_digest else ""
    wall = f", {run.cost['wall_s']:.1f} s" if "wall_s" in run.cost else ""
    return f"{run.status}{wall}{code}, by {run.created_by or 'unknown'}"


def _snapshot(run: model_pb2.Run) -> Link:
    snapshot = run.snapshot
    if not snapshot.sha256:
        return Link("snapshot", "", f"run {run.id} recorded no dataset snapshot", missing=True)
    start, end = from_proto(snapshot.event_time_from), from_proto(snapshot.event_time_to)
    span = f", {to_rfc3339(start)} to {to_rfc3339(end)}" if start and end else ""
    tables = ", ".join(f"{name}@{version}" for name, version in sorted(snapshot.tables.items()))
    left_out = "".join(f"; left out: {why}" for why in snapshot.excluded)
    return Link("snapshot", snapshot.sha256[:12], f"{snapshot.rows:,} rows{span}; {tables}{left_out}")


async def _cause(client: AsyncClient, cause: str, event_id: str = "") -> Link:
    """An episode with its exemplar predictions, as told when it caused something; or the words of a trigger."""
    if not _is_uuid(cause):
        return Link("trigger", cause, "not an episode: started by a person or a program")
    try:
        episode = await client.episodes.get(cause)
    except GyrostatError as error:
        return Link("episode", cause, str(error), missing=True)
    latest, step = episode.latest, behind(episode, event_id)
    told = step.told if step is not None and step.HasField("told") else latest
    event = f"; event {step.event_id}" if step is not None and step.event_id else ""
    text = f"{word(told, 'kind')} on {told.model}:{told.version}, now {word(latest, 'state')}: {told.summary}{event}"
    return Link(
        "episode",
        latest.episode_id,
        text,
        from_proto(told.started_at),
        links=tuple([await _exemplar(client, told.model, one) for one in told.exemplars[:_EXEMPLARS]])
        or (Link("exemplar", "", "the episode names no predictions", missing=True),),
    )


def behind(episode: monitor_pb2.Episode, event_id: str) -> monitor_pb2.Episode.Transition | None:
    """The state of an episode that caused something: told by that event, else first confirmed, else the first."""
    caused = [step for step in episode.transitions if event_id and step.event_id == event_id]
    confirmed = [step for step in episode.transitions if step.state == events_pb2.EPISODE_STATE_CONFIRMED]
    return next(iter([*caused, *confirmed, *episode.transitions]), None)


async def _exemplar(client: AsyncClient, model: str, prediction_id: str) -> Link:
    try:
        found = await client.quality.prediction(prediction_id, model=model)
    except GyrostatError as error:
        return Link("exemplar", prediction_id, str(error), missing=True)
    if not found.answers:
        return Link("exemplar", prediction_id, "not in the archive", missing=True)
    answer = found.answers[0]
    outcomes = [outcome.value for outcome in found.outcomes if outcome.winner]
    became = f", outcome {outcomes[0]:g}" if outcomes else ", no outcome"
    return Link(
        "exemplar",
        found.id,
        f"{model}:{answer.version} answered {_short(answer.outputs_json)}{became}",
        from_proto(answer.event_time),
    )


async def _promotion(client: AsyncClient, version: model_pb2.ModelVersion) -> Link:
    """How it went live: its roll-out's steps and the first plan that names it champion."""
    try:
        rollouts = [
            one for one in await client.rollouts.list(version.model, limit=None) if one.version == version.number
        ]
        plans = [plan for plan in await client.plans.list(version.model) if plan.champion.number == version.number]
    except GyrostatError as error:
        return Link("promotion", "", str(error), missing=True)
    steps = tuple(_rollout(rollout) for rollout in rollouts)
    if not plans:
        return Link("promotion", "", f"{version.model}:{version.number} was never champion", links=steps)
    first = min(plans, key=lambda plan: plan.revision)
    text = f"champion from revision {first.revision}, by {first.actor or 'unknown'}: {first.reason}"
    if not rollouts and first.rollout_id:
        steps = (Link("rollout", first.rollout_id, "the registry does not know this roll-out", missing=True),)
    return Link("promotion", f"revision {first.revision}", text, from_proto(first.made_at), links=steps)


def _rollout(rollout: registry_pb2.Rollout) -> Link:
    steps = tuple(
        Link(
            "step",
            f"revision {step.plan_revision}" if step.plan_revision else "",
            f"{word(step, 'state')} {step.weight / 100:g} %: {step.reason}",
            from_proto(step.event_time) or from_proto(step.at),
        )
        for step in rollout.steps
    )
    approved = f", approved by {', '.join(rollout.approvals)}" if rollout.approvals else ""
    return Link(
        "rollout",
        rollout.id,
        f"{word(rollout, 'state')}, started by {rollout.actor or 'unknown'}{approved}",
        from_proto(rollout.created_at),
        links=steps,
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _short(outputs_json: str) -> str:
    return outputs_json if len(outputs_json) <= 60 else outputs_json[:57] + "…"
