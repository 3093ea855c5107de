"""`gyrostat episodes …`, `gyrostat quality …`, `gyrostat outcomes …`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gyrostat_client.cli.options import Json, Limit, Model, NamedModel, OptionalModel, day_or_moment
from gyrostat_client.cli.output import details, minute, number, print_json, say, table, utc
from gyrostat_client.cli.session import session

episodes = typer.Typer(help="Stretches of event time in which something changed.", no_args_is_help=True)
quality = typer.Typer(help="Realised quality, windows and verdicts.", no_args_is_help=True)
outcomes = typer.Typer(help="What really happened.", no_args_is_help=True)

OutcomeFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="CSV, JSONL or Parquet with prediction_id | request_id,row | entity,at and value, observed_at.",
    ),
]
# The ones that a table has room for, most telling first; --json has all.
_METRICS = ("auc", "log_loss", "brier", "ece", "accuracy", "mae", "rmse")

Start = Annotated[str, typer.Option("--from", help="Event time, inclusive, RFC 3339 or a date.")]
End = Annotated[str, typer.Option("--to", help="Event time, exclusive, RFC 3339 or a date.")]


@episodes.command("list", epilog="Example: gyrostat episodes list fraud --open")
def list_episodes(
    ctx: typer.Context,
    named: NamedModel = "",
    model: OptionalModel = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    kind: Annotated[str, typer.Option(help="data, prediction, performance, data_quality, …")] = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Episodes, newest first."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = [
            one.latest
            for one in client.episodes.list(named or model, open_only=open_only, kind=kind.lower(), limit=limit)
        ]
    if as_json:
        return print_json(found)
    table(
        ["id", "*version", "*kind", "*state", "*from", "summary"],
        (
            [
                one.episode_id,
                f"{one.model}:{one.version}",
                word(one, "kind"),
                word(one, "state"),
                minute(one.started_at),
                one.summary,
            ]
            for one in found
        ),
        empty="no episodes" + (" are open" if open_only else ""),
    )


@episodes.command("show", epilog="Example: gyrostat episodes show 5f0c2a8e-…")
def show_episode(
    ctx: typer.Context,
    episode: Annotated[str, typer.Argument(metavar="ID", help="Id of the episode.")],
    as_json: Json = False,
) -> None:
    """An episode with its evidence and history."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.episodes.get(episode)
    if as_json:
        return print_json(found)
    latest = found.latest
    details(
        {
            "episode": latest.episode_id,
            "about": f"{latest.model}:{latest.version}" + (f", {latest.slice}" * bool(latest.slice)),
            "kind": word(latest, "kind"),
            "state": word(latest, "state"),
            "severity": f"{latest.severity} ({number(latest.severity_score)}), effect {number(latest.effect)}",
            "event time": f"{utc(latest.started_at)} to {utc(latest.ended_at) or 'now'}",
            "watermark": utc(latest.watermark),
            "summary": latest.summary,
            "exemplars": "\n".join(latest.exemplars),
        }
    )
    if latest.features:
        table(
            ["*feature", "*statistic", ">value", ">reference", ">now", ">p", "what"],
            (
                [one.feature, one.statistic, one.value, one.reference, one.current, one.p_adjusted, one.text]
                for one in latest.features
            ),
            title="\nevidence",
        )
    table(
        ["*watermark", "*state", "summary", "event"],
        ([utc(one.watermark), word(one, "state"), one.summary, one.event_id] for one in found.transitions),
        title="\nhistory",
    )


@quality.command("show", epilog="Example: gyrostat quality show fraud --by month")
def show_quality(
    ctx: typer.Context,
    model: Model,
    by: Annotated[str, typer.Option(help="day, month, or nothing for the whole range.")] = "",
    start: Start = "",
    end: End = "",
    as_json: Json = False,
) -> None:
    """Realised quality per version and role; the live line is what callers really got."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.quality.get(
            model, start=day_or_moment(start, "--from"), end=day_or_moment(end, "--to"), by=by, live=True
        )
    if as_json:
        return print_json(found)
    there = {name for one in found for name in one.metrics}
    names = [name for name in _METRICS if name in there][:4]
    table(
        ["*from", "*version", "*role", ">answers", ">with outcome", *(f">{name.replace('_', ' ')}" for name in names)],
        (
            [
                utc(getattr(one, "from"))[:10],
                f"{model}:{one.version}" if one.version else "live",
                word(one, "role"),
                one.predictions,
                f"{one.outcomes:,} {one.coverage:4.0%}",
                *(f"{one.metrics[name]:.4f}" if name in one.metrics else "" for name in names),
            ]
            for one in found
        ),
        empty="no answers in this range",
    )


@quality.command("windows", epilog="Example: gyrostat quality windows fraud --limit 10")
def list_windows(
    ctx: typer.Context, model: Model, start: Start = "", end: End = "", limit: Limit = 30, as_json: Json = False
) -> None:
    """Event-time windows with what stood out in them."""
    with session(ctx) as client:
        found = client.quality.windows(
            model, start=day_or_moment(start, "--from"), end=day_or_moment(end, "--to"), limit=limit
        )
    if as_json:
        return print_json(found)
    table(
        ["*from", "*to", "*version", ">rows", ">outcomes", ">log loss", "stands out"],
        (
            [
                utc(one.window.start),
                utc(one.window.end),
                f"{one.model}:{one.version}",
                one.window.rows,
                one.outcomes,
                one.quality.get("log_loss"),
                _significant(one),
            ]
            for one in found
        ),
        empty="no windows yet",
    )


@quality.command("verdicts", epilog="Example: gyrostat quality verdicts fraud")
def list_judgements(
    ctx: typer.Context,
    named: NamedModel = "",
    model: OptionalModel = "",
    rollout: Annotated[str, typer.Option(help="Only of this roll-out.")] = "",
    limit: Limit = 30,
    as_json: Json = False,
) -> None:
    """Verdicts on roll-outs, newest first."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.quality.judgements(named or model, rollout_id=rollout, limit=limit)
    if as_json:
        return print_json(found)
    table(
        ["*watermark", "*pair", "*verdict", ">paired", ">needed", "summary"],
        (
            [
                utc(one.judged.watermark),
                f"{one.judged.model}:{one.judged.version} / {one.judged.baseline}",
                word(one.judged, "verdict"),
                one.judged.paired_rows,
                one.judged.rows_needed,
                one.judged.summary,
            ]
            for one in found
        ),
        empty="no verdicts yet",
    )


@outcomes.command(
    "record", epilog="Example: gyrostat outcomes record --prediction 0198c2d4-…/0 --model fraud --value 1"
)
def record_outcomes(
    ctx: typer.Context,
    file: OutcomeFile = None,
    model: OptionalModel = "",
    prediction: Annotated[str, typer.Option("--prediction", help="Prediction id, <uuid> or <uuid>/<row>.")] = "",
    request: Annotated[str, typer.Option("--request", help="Or: the request id that the caller gave.")] = "",
    row: Annotated[int, typer.Option(help="Row within that request.")] = 0,
    entity: Annotated[str, typer.Option(help="Or: the entity, with --at.")] = "",
    at: Annotated[str, typer.Option(help="Time of the entity's prediction, RFC 3339.")] = "",
    value: Annotated[float | None, typer.Option(help="0 or 1, a class number, or a number.")] = None,
    observed_at: Annotated[str, typer.Option(help="Event time at which it became true; default now.")] = "",
    source: Annotated[str, typer.Option(help="Which system says so.")] = "",
    as_json: Json = False,
) -> None:
    """Records what became of one prediction, or of every row of a file; a file sent again changes nothing."""
    if file is None and value is None:
        raise typer.BadParameter("give a FILE, or --value with --prediction, --request or --entity")
    with session(ctx) as client:
        if file is not None:
            recorded: dict[str, Any] = {"recorded": client.outcomes.record_file(file, model=model, source=source)}
        else:
            from gyrostat_client.outcomes import outcome_of

            given = {
                "prediction_id": prediction,
                "request_id": request,
                "row": row,
                "entity": entity,
                "at": day_or_moment(at, "--at") or "",
                "value": value,
                "observed_at": day_or_moment(observed_at, "--observed-at") or datetime.now(UTC),
            }
            event_ids = client.outcomes.record(outcome_of(given, model=model, source=source))
            recorded = {"recorded": 1, "event_ids": event_ids}
    if as_json:
        return print_json(recorded)
    say(f"recorded {recorded['recorded']:,} outcome{'s' * (recorded['recorded'] != 1)}")


def _significant(window: Any) -> str:
    found = sorted((one for one in window.statistics if one.significant), key=lambda one: -abs(one.value))
    shown = ", ".join(f"{one.scalar} {one.statistic} {number(one.value)}" for one in found[:3])
    return shown + (f" and {len(found) - 3} more" if len(found) > 3 else "")
