"""`gyrostat runs …`, `gyrostat datasets …`, `gyrostat train`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gyrostat_client.cli.options import Json, Limit, Model, NamedModel, OptionalModel, Reason, RequestId, moment
from gyrostat_client.cli.output import (
    console,
    details,
    is_terminal,
    minute,
    print_json,
    print_json_line,
    say,
    table,
    utc,
)
from gyrostat_client.cli.session import session
from gyrostat_client.cli.versions import show_gates

if TYPE_CHECKING:
    from gyrostat.trainer.v1 import trainer_pb2

runs = typer.Typer(help="Trainings and what they made.", no_args_is_help=True)
datasets = typer.Typer(help="Rows brought along: the first training data.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]


@runs.command("list", epilog="Example: gyrostat runs list fraud")
def list_runs(
    ctx: typer.Context, named: NamedModel = "", model: OptionalModel = "", limit: Limit = 50, as_json: Json = False
) -> None:
    """Trainings, newest first."""
    with session(ctx) as client:
        found = client.runs.list(named or model, limit=limit)
    if as_json:
        return print_json(found)
    table(
        ["*id", "*model", "status", "*version", "*started", ">wall s"],
        (
            [
                one.run.id,
                one.run.model,
                one.run.status if one.progress.stage in ("", "done") else f"{one.run.status}: {one.progress.stage}",
                f"{one.run.model}:{one.run.version}" if one.run.version else "–",
                minute(one.run.started_at),
                one.run.cost.get("wall_s"),
            ]
            for one in found
        ),
        empty="no trainings yet; `gyrostat train MODEL` starts one",
    )


@runs.command("show", epilog="Example: gyrostat runs show 0198c2d4-…")
def show_run(ctx: typer.Context, run: RunId, as_json: Json = False) -> None:
    """A run with snapshot, parameters, costs and gate numbers."""
    with session(ctx) as client:
        found = client.runs.get(run)
    if as_json:
        return print_json(found)
    _print_run(found)


@runs.command("watch", epilog="Example: gyrostat runs watch 0198c2d4-…")
def watch_run(ctx: typer.Context, run: RunId, as_json: Json = False) -> None:
    """Follows a run to its end; fails unless it succeeds."""
    with session(ctx) as client:
        last = _follow(client.runs.watch(run), as_json=as_json)
    _finish(last, as_json=as_json)


@runs.command("why", epilog="Example: gyrostat runs why fraud")
def why(
    ctx: typer.Context, named: NamedModel = "", model: OptionalModel = "", limit: Limit = 50, as_json: Json = False
) -> None:
    """What was decided about each cause, also the decision not to train."""
    with session(ctx) as client:
        found = client.runs.decisions(named or model, limit=limit)
    if as_json:
        return print_json(found)
    table(
        ["*at", "*model", "*action", "reason", "*watermark", "cause"],
        ([utc(one.at), one.model, one.action, one.reason, utc(one.watermark), one.cause] for one in found),
        empty="nothing was decided yet: no episode was confirmed",
    )


@runs.command("cancel", epilog="Example: gyrostat runs cancel 0198c2d4-… --reason 'wrong parameters'")
def cancel_run(
    ctx: typer.Context, run: RunId, reason: Reason = "", request_id: RequestId = "", as_json: Json = False
) -> None:
    """Stops a run that is queued or running."""
    with session(ctx) as client:
        done = client.runs.cancel(run, reason=reason, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"run {done.run.id} is {done.run.status}")


def train(
    ctx: typer.Context,
    model: Model,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end; fails unless it succeeds.")] = False,
    parameters: Annotated[str, typer.Option("--parameters", help="Overrides of the pipeline's parameters, JSON.")] = "",
    until: Annotated[str, typer.Option(help="Event time up to which rows are taken, RFC 3339.")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="Register only, start no roll-out.")] = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Starts a training by hand."""
    end = moment(until, "--until")
    with session(ctx) as client:
        started = client.runs.start(
            model, reason=reason, parameters_json=parameters, until=end, hold=hold, request_id=request_id
        )
        if not wait:
            if as_json:
                return print_json(started)
            say(f"run {started.run.id} is {started.run.status}")
            return say(f"next: gyrostat runs watch {started.run.id}", style="dim")
        last = _follow(client.runs.watch(started.run.id), as_json=as_json)
    _finish(last, as_json=as_json)


@datasets.command("list", epilog="Example: gyrostat datasets list")
def list_datasets(ctx: typer.Context, as_json: Json = False) -> None:
    """All datasets."""
    with session(ctx) as client:
        found = client.datasets.list()
    if as_json:
        return print_json(found)
    table(
        ["*dataset", ">rows", ">version", "*updated", "where"],
        ([one.name, one.rows, one.delta_version, utc(one.updated_at), one.uri] for one in found),
        empty="no datasets; `gyrostat datasets import NAME rows.parquet` takes one in",
    )


@datasets.command("import", epilog="Example: gyrostat datasets import fraud-2012 rows.parquet")
def import_dataset(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="Parquet: the model's inputs by name, label, event_time."
        ),
    ],
    append: Annotated[bool, typer.Option("--append", help="Add to what is there instead of replacing it.")] = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Takes a Parquet file in as a new version of a dataset."""
    with session(ctx) as client:
        done = client.datasets.import_file(name, file, append=append, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"{done.name} is at version {done.delta_version} with {done.rows:,} rows in {done.uri}")


def _follow(states: "Iterable[trainer_pb2.TrainingRun]", *, as_json: bool) -> "trainer_pb2.TrainingRun | None":
    """Shows each state of a run as it comes and gives the last."""
    last = None
    if as_json or not is_terminal():
        shown = ""
        for last in states:
            line = f"{last.run.status} {last.progress.stage} {last.progress.fraction:.0%} {last.progress.text}".rstrip()
            if as_json:
                print_json_line(last)
            elif line != shown:
                say(line)
            shown = line
        return last
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console()) as progress:
        task = progress.add_task("queued", total=1.0, text="")
        for last in states:
            progress.update(
                task,
                completed=last.progress.fraction,
                text=last.progress.text,
                description=last.progress.stage or last.run.status,
            )
    return last


def _finish(last: "trainer_pb2.TrainingRun | None", *, as_json: bool) -> None:
    """The end of a followed run, and the exit code."""
    if last is None:
        raise typer.Exit(1)
    if not as_json:
        _print_run(last)
    if last.run.status != "succeeded":
        raise typer.Exit(1)


def _print_run(found: "trainer_pb2.TrainingRun") -> None:
    run, snapshot = found.run, found.run.snapshot
    judged = {f"{gate.gate}.{name}" for gate in found.gates for name in gate.numbers}  # shown with the gates
    rows = (
        (
            f"{snapshot.rows:,} rows, {utc(snapshot.event_time_from)} to {utc(snapshot.event_time_to)}, "
            f"sha256 {snapshot.sha256[:12]}"
        )
        if snapshot.sha256
        else ""
    )
    details(
        {
            "run": run.id,
            "model": run.model,
            "status": f"{run.status}  {found.progress.text}".rstrip(),
            "error": run.error,
            "version": f"{run.model}:{run.version}" if run.version else "",
            "causes": ", ".join(run.causes),
            "attached": ", ".join(found.attached_causes),
            "snapshot": rows,
            "left out": "\n".join(snapshot.excluded),
            "watermark": utc(found.watermark),
            "started": utc(run.started_at),
            "ended": utc(run.ended_at),
            "parameters": "  ".join(f"{key}={value}" for key, value in sorted(run.params.items())),
            "metrics": "  ".join(f"{one.name}={one.value:.5g}" for one in run.metrics if one.name not in judged),
            "cost": "  ".join(f"{key}={value:.4g}" for key, value in sorted(run.cost.items())),
            "code": run.code_digest,
            "environment": run.environment_digest,
        }
    )
    if found.gates:
        show_gates(found.gates)
