"""`gyrostat models …` and `gyrostat spec …`."""

from pathlib import Path
from typing import Annotated

import typer

from gyrostat_client.cli.options import Json, Model, RequestId
from gyrostat_client.cli.output import details, print_json, say, table, utc
from gyrostat_client.cli.session import session

models = typer.Typer(help="Named prediction problems.", no_args_is_help=True)
spec = typer.Typer(help="The one description of a model: owner, policies, sensitivity.", no_args_is_help=True)

SpecFile = Annotated[Path, typer.Argument(metavar="FILE", help="ModelSpec as YAML or JSON; - reads from stdin.")]


@models.command("list", epilog="Example: gyrostat models list")
def list_models(ctx: typer.Context, as_json: Json = False) -> None:
    """All models with their newest version, champion and owner."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.models.list()
    if as_json:
        return print_json(found)
    table(
        ["*model", "task", "autopilot", ">latest", "champion", "owner", "*created"],
        (
            [
                one.name,
                word(one.spec, "task"),
                word(one.spec, "autopilot") or "propose",
                one.latest_version,
                _alias(one.aliases, "champion"),
                one.spec.owner,
                utc(one.created_at),
            ]
            for one in found
        ),
        empty="no models yet; `gyrostat models create NAME` makes one",
    )


@models.command("show", epilog="Example: gyrostat models show fraud")
def show_model(ctx: typer.Context, model: Model, as_json: Json = False) -> None:
    """A model with its aliases and spec."""
    from gyrostat_client import specs
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.models.get(model)
        switch = client.models.autopilot(model)
    if as_json:
        return print_json({"model": found, "autopilot": switch})
    aliases = ", ".join(f"{alias} → {number}" for alias, number in sorted(found.aliases.items()))
    details(
        {
            "model": found.name,
            "created": f"{utc(found.created_at)} by {found.created_by or 'unknown'}",
            "latest version": found.latest_version or "none",
            "aliases": aliases,
            "autopilot": f"{word(switch, 'effective') or 'propose'} (model {word(switch, 'model_mode') or 'propose'}, "
            f"all models {word(switch, 'global_mode') or 'on'})",
        }
    )
    say(f"\nspec, revision {found.spec.revision}:", style="bold")
    say(specs.write(found.spec))


@models.command("create", epilog="Example: gyrostat models create fraud --owner risk@example.org --task binary")
def create_model(
    ctx: typer.Context,
    model: Model,
    spec_file: Annotated[Path | None, typer.Option("--spec", help="ModelSpec as YAML or JSON.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    team: Annotated[str, typer.Option(help="Team that owns it.")] = "",
    task: Annotated[str, typer.Option(help="binary, multiclass or regression.")] = "",
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Registers a model."""
    from gyrostat_client import specs

    given = specs.read(_text(spec_file) if spec_file else "{}")
    overrides = {name: value for name, value in (("owner", owner), ("team", team), ("task", task)) if value}
    given.MergeFrom(specs.read(_yaml(overrides)))
    with session(ctx) as client:
        made = client.models.create(model, given, request_id=request_id)
    if as_json:
        return print_json(made)
    say(f"created {made.name}; next: gyrostat versions push {made.name} model.onnx")


@spec.command("get", epilog="Example: gyrostat spec get fraud > fraud.yaml")
def get_spec(ctx: typer.Context, model: Model, as_json: Json = False) -> None:
    """The spec in force, as YAML that `spec apply` takes back."""
    from gyrostat_client import specs

    with session(ctx) as client:
        found = client.models.get(model).spec
    print(specs.write(found, as_json=as_json))


@spec.command("diff", epilog="Example: gyrostat spec diff fraud fraud.yaml")
def diff_spec(ctx: typer.Context, model: Model, file: SpecFile, as_json: Json = False) -> None:
    """What `spec apply` would change."""
    from gyrostat_client import specs

    given = _text(file)
    with session(ctx) as client:
        found = client.models.get(model).spec
    wanted = specs.read(given, onto=found)
    lines = specs.diff(found, wanted, (f"{model} revision {found.revision}", str(file)))
    if as_json:
        return print_json({"model": model, "revision": found.revision, "same": not lines, "diff": lines})
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        say(line, style=styles.get(line[:1], ""))
    if not lines:
        say("no difference")


@spec.command("apply", epilog="Example: gyrostat spec apply fraud fraud.yaml")
def apply_spec(
    ctx: typer.Context, model: Model, file: SpecFile, request_id: RequestId = "", as_json: Json = False
) -> None:
    """Changes what the file names; refused when the spec changed since the revision in the file."""
    from gyrostat_client import specs

    given = _text(file)
    with session(ctx) as client:
        before = client.models.get(model).spec
        wanted = specs.read(given, onto=before)
        changed = specs.diff(before, wanted)
        after = before
        if changed:
            after = client.models.update_spec(
                model, wanted, expected_revision=wanted.revision, request_id=request_id
            ).spec
    if as_json:
        return print_json({"model": model, "changed": bool(changed), "revision": after.revision, "diff": changed})
    say(f"{model} is at spec revision {after.revision}" if changed else f"{model}: no difference, nothing changed")


def _alias(aliases: object, name: str) -> str:
    number = dict(aliases).get(name) if aliases else None  # type: ignore[call-overload]
    return f"v{number}" if number else "–"


def _text(file: Path) -> str:
    """The file's text, or stdin's for `-`."""
    import sys

    from gyrostat_common.errors import InvalidInput

    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {file}: {error}") from None


def _yaml(values: dict[str, str]) -> str:
    import json

    return json.dumps(values)
