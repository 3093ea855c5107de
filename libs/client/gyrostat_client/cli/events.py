"""`gyrostat events …` and `gyrostat topics …`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gyrostat_client.cli.options import Json, OptionalModel, Reason
from gyrostat_client.cli.output import details, number, print_json, print_json_line, say, table, utc
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat.registry.v1 import registry_pb2
    from gyrostat_client.events import TailedEvent
    from gyrostat_client.unroll import PredictionRow

events = typer.Typer(help="What the services say on the log.", no_args_is_help=True)
topics = typer.Typer(help="The topics of the contract.", no_args_is_help=True)

TopicNames = Annotated[list[str] | None, typer.Option("--topic", "-t", help="Only this topic; may be given again.")]


@events.command("tail", epilog="Example: gyrostat events tail --topic prediction.logged --from-beginning --limit 5")
def tail(
    ctx: typer.Context,
    topic: TopicNames = None,
    model: OptionalModel = "",
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start at the oldest record.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for what comes, or end at what is there.")
    ] = True,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="End after so many lines.")] = None,
    as_json: Json = False,
) -> None:
    """Decodes every topic as it comes; micro-batches of predictions become a line per prediction."""
    left = limit
    with session(ctx) as client:
        for event in client.events.tail(topic or [], model=model, from_beginning=from_beginning, follow=follow):
            for line in json_lines(event) if as_json else lines(event):
                print_json_line(line) if as_json else say(str(line))
                if left is not None:
                    left -= 1
                    if not left:
                        return


@events.command("show", epilog="Example: gyrostat events show model.promoted/0/12")
def show(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="PLACE|ID", help="<topic>/<partition>/<offset>, or an event's id.")],
    topic: TopicNames = None,
    as_json: Json = False,
) -> None:
    """One event with its headers and its whole payload."""
    from gyrostat_common.errors import NotFound

    name, _, rest = place.partition("/")
    searched = [name] if rest else topic or []
    with session(ctx) as client:
        found = next(
            (
                event
                for event in client.events.tail(searched, from_beginning=True, follow=False)
                if place in (event.id, f"{event.topic}/{event.partition}/{event.offset}")
            ),
            None,
        )
    if found is None:
        raise NotFound(f"no event {place} on the log; it may be older than the topic's retention")
    if as_json:
        return print_json(found)
    _print_event(found)


@topics.command("list", epilog="Example: gyrostat topics list")
def list_topics(ctx: typer.Context, as_json: Json = False) -> None:
    """The contract, read from the event messages; Kafka is not asked."""
    with session(ctx) as client:
        found = client.topics.list()
    if as_json:
        return print_json(found)
    table(
        ["*topic", "key", ">parts", "*cleanup", ">days", "from", "to"],
        (
            [
                one.topic,
                one.key.partition(" (")[0],
                one.partitions,
                one.cleanup,
                one.retention_days or "∞",
                ", ".join(one.producers),
                ", ".join(one.consumers),
            ]
            for one in found
        ),
    )


@topics.command("check", epilog="Example: gyrostat topics check")
def check_topics(ctx: typer.Context, as_json: Json = False) -> None:
    """How every topic stands in Kafka; fails when one is missing or breaks the contract."""
    with session(ctx) as client:
        found = client.topics.check()
    _judge_topics(found, as_json)


@topics.command("apply", epilog="Example: gyrostat topics apply --dry-run")
def apply_topics(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the kafka-topics lines; Kafka is not asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Creates the topics that are missing and changes nothing that exists."""
    with session(ctx) as client:
        if dry_run:
            commands = client.topics.commands()
            return print_json({"commands": list(commands)}) if as_json else print("\n".join(commands))
        found = client.topics.apply()
    _judge_topics(found, as_json)


@topics.command("repair", epilog="Example: gyrostat topics repair serving.plan --dry-run")
def repair_topic(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="serving.plan", help="The topic that holds state.")],
    key: Annotated[
        str, typer.Option("--key", "-k", help="Only this record key, also one that the registry can read.")
    ] = "",
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Writes over what cannot be read: our plan of the key again, or a tombstone where we have no such model."""
    if topic != "serving.plan":
        said = "only serving.plan is state; what cannot be handled in another topic goes to <group>.dlq"
        raise typer.BadParameter(said, param_hint="serving.plan")
    with session(ctx) as client:
        found = client.plans.repair_topic(key.encode(), reason=reason, dry_run=True)
        if found and not dry_run:
            if not yes:
                if not as_json:
                    _print_repairs(found, done=False)
                typer.confirm("Go on?", abort=True, err=True)
            # What was shown is what is done, whatever has come since.
            found = [done for one in found for done in client.plans.repair_topic(one.key, reason=reason)]
    if as_json:
        return print_json([{**_repair(one), "done": not dry_run} for one in found])
    if not found:
        return say("nothing to repair: the registry can read the newest record of every key", style="dim")
    _print_repairs(found, done=not dry_run)


def _repair(one: "registry_pb2.PlanTopicRepair") -> dict[str, Any]:
    from gyrostat_common.bus.held import shown

    return {"key": shown(one.key), "action": one.action, "revision": one.revision, "found": one.found}


def _print_repairs(found: Sequence["registry_pb2.PlanTopicRepair"], *, done: bool) -> None:
    for one in map(_repair, found):
        what = (
            f"{'published' if done else 'would publish'} revision {one['revision']} again"
            if one["revision"]
            else f"{'wrote' if done else 'would write'} a tombstone: the registry has no plan of this key"
        )
        say(f"{one['key']}: {what}")
        if one["found"]:
            say(f"  {one['found']}", style="dim")


def lines(event: "TailedEvent") -> Iterator[str]:
    """An event for people: a line, or one per prediction of a micro-batch."""
    unrolled = False
    for row in event.predictions():
        unrolled = True
        yield _prediction(row)
    if not unrolled:
        place = f"{event.topic}/{event.partition}/{event.offset}"
        yield f"{utc(event.time or event.at)}  {place}  {event.subject or event.key}  {_said(event)}"


def json_lines(event: "TailedEvent") -> Iterator[Any]:
    """An event for programs: an object, or one per prediction of a micro-batch."""
    from gyrostat_client.plain import to_plain

    unrolled = False
    for row in event.predictions():
        unrolled = True
        yield {"topic": event.topic, "partition": event.partition, "offset": event.offset, **to_plain(row)}
    if not unrolled:
        yield event


def _prediction(row: "PredictionRow") -> str:
    """One prediction in one line, its features by name."""
    values = " ".join(f"{name}={_value(value, row.sensitivity.get(name, ''))}" for name, value in row.inputs.items())
    answer = " ".join(f"{name}={_value(value)}" for name, value in row.outputs.items())
    future = " future-event-time" if row.future_event_time else ""
    return (
        f"{utc(row.event_time)}  {row.model}:{row.version} {row.role}/{row.variant}  {row.id}  {answer}  ← {values}"
        f"{f'  entity={row.entity}' if row.entity else ''}  {row.latency_us / 1000:.1f} ms{future}"
    )


def _value(value: Any, kept: str = "") -> str:
    if value is None:
        return "dropped" if kept == "drop" else "–"
    if isinstance(value, list):
        return "[" + ",".join(_value(item) for item in value) + "]"
    shown = number(value) if isinstance(value, float) else str(value)
    return f"{kept}:{shown}" if kept else shown


def _said(event: "TailedEvent") -> str:
    """What an event says, in its own words or in the most telling of its fields."""
    from gyrostat_client.plain import to_plain

    if event.payload is None:
        return event.note
    plain = to_plain(event.payload)
    telling = (
        "kind",
        "state",
        "verdict",
        "change",
        "status",
        "revision",
        "champion",
        "canary_weight",
        "version_before",
        "version_after",
        "candidate_version",
        "prediction",
        "replica",
        "revisions",
        "dataset",
        "rows",
        "actor",
        "cause",
        "summary",
        "evidence",
        "reason",
        "error",
    )
    shown = {key: _telling(plain[key]) for key in telling if plain.get(key) not in (None, "", 0, {}, [])}
    if "observed_at" in plain:  # an outcome, and its value may be 0
        shown["value"] = _telling(plain["value"])
    return " ".join(f"{key}={value}" for key, value in shown.items()) + (f"  ({event.note})" if event.note else "")


def _telling(value: Any) -> str:
    if isinstance(value, dict):
        return (
            str(value["number"])
            if "number" in value
            else ",".join(f"{key}:{_telling(item)}" for key, item in value.items())
        )
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def _without_columns(plain: dict[str, Any]) -> dict[str, Any]:
    """A payload without the packed columns, which are unrolled instead."""
    packed = (
        "prediction_ids",
        "row_numbers",
        "event_times_us",
        "arrival_times_us",
        "latencies_us",
        "inputs",
        "outputs",
        "future_event_times",
        "request_ids",
        "entities",
        "traces",
    )
    return {key: value for key, value in plain.items() if key not in packed} if "prediction_ids" in plain else plain


def _print_event(found: "TailedEvent") -> None:
    """One event for people: headers, payload, and a line per prediction."""
    from gyrostat_client.plain import to_plain

    details(
        {
            "event": found.id,
            "type": found.type,
            "place": f"{found.topic}/{found.partition}/{found.offset}",
            "key": found.key,
            "subject": found.subject,
            "source": found.source,
            "time": utc(found.time or found.at),
            "loop": found.correlation_id,
            "parent event": found.causation_id,
            "traceparent": found.traceparent,
            "note": found.note,
        }
    )
    if found.payload is not None:
        print_json(_without_columns(to_plain(found.payload)))
        for row in found.predictions():
            say(_prediction(row))


def _judge_topics(found: Any, as_json: bool) -> None:
    """Prints every topic; fails when one is missing or breaks the contract."""
    if as_json:
        print_json(found)
    else:
        _print_topics(found)
    if any(one.state in ("missing", "refused") for one in found):
        raise typer.Exit(1)


def _print_topics(found: Any) -> None:
    table(
        ["*topic", "*state", ">parts", "*cleanup", ">days", "remarks"],
        ([one.topic, one.state, one.partitions, one.cleanup, one.retention_days or "∞", one.remarks] for one in found),
    )
