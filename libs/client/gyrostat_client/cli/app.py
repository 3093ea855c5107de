"""All commands under one name, and the options that may stand anywhere."""

from typing import Annotated, Any

import typer

from gyrostat_client.cli import actions, episodes, events, models, overview, predict, rollouts, runs, versions
from gyrostat_client.cli.root import Root
from gyrostat_client.cli.session import Globals

app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Gyrostat: models that are served, watched, retrained, proven and rolled out by themselves.",
    epilog="Options stand anywhere on the line. Exit codes: 0 ok, 1 failed or refused, 2 usage, 3 not reachable.",
)

_LOOK, _ACT, _NOUNS = "Look", "Act", "Nouns"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gyrostat {version('gyrostat-client')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    registry: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="GYROSTAT_CLIENT__REGISTRY_ADDRESS")] = None,
    inference: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="GYROSTAT_CLIENT__INFERENCE_ADDRESS")
    ] = None,
    monitor: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="GYROSTAT_CLIENT__MONITOR_ADDRESS")] = None,
    trainer: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="GYROSTAT_CLIENT__TRAINER_ADDRESS")] = None,
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="GYROSTAT_KAFKA__BOOTSTRAP_SERVERS")] = None,
    actor: Annotated[str | None, typer.Option(help="Who acts; lands in the audit log.")] = None,
    environment: Annotated[str | None, typer.Option(help="Environment of plans and roll-outs.")] = None,
    timeout_s: Annotated[float | None, typer.Option(min=0.1, help="Deadline of one call in seconds.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show where an unexpected error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Addresses and names come from GYROSTAT_CLIENT__… unless given here."""
    ctx.obj = Globals(registry, inference, monitor, trainer, kafka, actor, environment, timeout_s, trace)


def _verb(panel: str, function: Any, example: str) -> None:
    app.command(rich_help_panel=panel, epilog=f"Example: {example}")(function)


_verb(_LOOK, overview.status, "gyrostat status --watch")
_verb(_LOOK, overview.explain, "gyrostat explain fraud@champion")
_verb(_LOOK, overview.doctor, "gyrostat doctor")
_verb(_ACT, predict.predict, "gyrostat predict fraud --input amount=12.5 --input country=CH")
_verb(_ACT, runs.train, "gyrostat train fraud --wait")
_verb(_ACT, actions.promote, "gyrostat promote fraud:3 --reason 'first champion'")
_verb(_ACT, actions.approve, "gyrostat approve fraud:4 --reason 'evidence read'")
_verb(_ACT, actions.rollback, "gyrostat rollback fraud --reason 'complaints'")
_verb(_ACT, actions.retire, "gyrostat retire fraud --reason 'replaced' --yes")
_verb(_ACT, actions.autopilot, "gyrostat autopilot fraud propose --reason 'audit week'")

for _name, _group in (
    ("models", models.models),
    ("spec", models.spec),
    ("versions", versions.versions),
    ("runs", runs.runs),
    ("rollouts", rollouts.rollouts),
    ("plans", rollouts.plans),
    ("episodes", episodes.episodes),
    ("quality", episodes.quality),
    ("outcomes", episodes.outcomes),
    ("datasets", runs.datasets),
    ("events", events.events),
    ("topics", events.topics),
    ("audit", rollouts.audit),
):
    app.add_typer(_group, name=_name, rich_help_panel=_NOUNS)
