"""`gyrostat versions …`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gyrostat_client.cli.options import Json, Limit, Model, RequestId, Version
from gyrostat_client.cli.output import details, print_json, say, size, table, utc
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat.registry.v1 import model_pb2

versions = typer.Typer(help="Immutable, numbered artifacts of a model.", no_args_is_help=True)


@versions.command("list", epilog="Example: gyrostat versions list fraud")
def list_versions(ctx: typer.Context, model: Model, limit: Limit = 100, as_json: Json = False) -> None:
    """Versions of a model with stage and cause."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.versions.list(model, limit=limit)
    if as_json:
        return print_json(found)
    table(
        ["*version", "*stage", "*gates", "*created", "by", "*sha256", "why"],
        (
            [
                f"{one.model}:{one.number}",
                word(one, "stage"),
                gates_in_short(one),
                utc(one.created_at),
                one.created_by,
                one.artifact.sha256[:8],
                one.stage_reason,
            ]
            for one in found
        ),
        empty=f"no versions yet; `gyrostat versions push {model} model.onnx` registers one",
    )


@versions.command("show", epilog="Example: gyrostat versions show fraud@champion")
def show_version(ctx: typer.Context, version: Version, as_json: Json = False) -> None:
    """A version with its signature and gate numbers."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.versions.get(version)
    if as_json:
        return print_json(found)
    details(
        {
            "version": f"{found.model}:{found.number}",
            "stage": f"{word(found, 'stage')}  {found.stage_reason}",
            "artifact": f"{found.artifact.sha256} ({size(found.artifact.size_bytes)})",
            "profile": found.profile.sha256,
            "warm-up": found.warm_up.sha256,
            "run": found.run_id,
            "cause": found.cause,
            "loop": found.correlation_id,
            "created": f"{utc(found.created_at)} by {found.created_by or 'unknown'}",
            "description": found.description,
            "tags": ", ".join(f"{key}={value}" for key, value in sorted(found.tags.items())),
            "inputs": _tensors(found.signature.inputs),
            "outputs": _tensors(found.signature.outputs),
        }
    )
    if found.gates:
        show_gates(found.gates)


@versions.command("push", epilog="Example: gyrostat versions push fraud model.onnx --alias v1.2")
def push_version(
    ctx: typer.Context,
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ONNX file.", exists=True, dir_okay=False)],
    profile: Annotated[
        Path | None, typer.Option(help="Reference profile (JSON) to watch it against.", exists=True)
    ] = None,
    warm_up: Annotated[
        Path | None, typer.Option(help="Samples (JSON, REST infer bodies) to run before it answers.", exists=True)
    ] = None,
    alias: Annotated[str, typer.Option(help="Free alias to point at it, such as v1.2.")] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="Register only, start no roll-out.")] = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Uploads an ONNX file and registers it as the next version."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        made = client.versions.push(
            model, file, profile=profile, warm_up=warm_up, description=description, hold=hold, request_id=request_id
        )
        name = f"{made.version.model}:{made.version.number}"
        if alias:
            client.versions.set_alias(name, alias)
    if as_json:
        return print_json(made)
    say(f"registered {name} ({word(made.version, 'stage')}), sha256 {made.version.artifact.sha256[:12]}")
    if made.HasField("rollout"):
        say(f"roll-out {made.rollout.id} is {word(made.rollout, 'state')}")
    else:
        say(f"next: gyrostat promote {name} --reason '…'", style="dim")


@versions.command("archive", epilog="Example: gyrostat versions archive fraud:2")
def archive_version(ctx: typer.Context, version: Version, request_id: RequestId = "", as_json: Json = False) -> None:
    """Puts a version away; it cannot be promoted any more."""
    with session(ctx) as client:
        done = client.versions.archive(version, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"archived {done.model}:{done.number}")


@versions.command("download", epilog="Example: gyrostat versions download fraud@champion --into .")
def download_version(
    ctx: typer.Context,
    version: Version,
    into: Annotated[Path, typer.Option("--into", "-o", help="Folder, or the file's own path.")] = Path(),
    as_json: Json = False,
) -> None:
    """Writes a version's ONNX file, checked by its digest."""
    with session(ctx) as client:
        target = client.versions.download(version, into)
    if as_json:
        return print_json({"file": str(target), "bytes": target.stat().st_size})
    say(f"{target} ({size(target.stat().st_size)})")


@versions.command("alias", epilog="Example: gyrostat versions alias fraud:3 v1.2")
def alias_version(
    ctx: typer.Context,
    version: Version,
    alias: Annotated[str, typer.Argument(help="Free alias, such as v1.2 or challenger-eu.")],
    delete: Annotated[bool, typer.Option("--delete", help="Take the alias away instead.")] = False,
    as_json: Json = False,
) -> None:
    """Points a free alias at a version; champion, canary and challenger follow the plan and cannot be set."""
    from gyrostat_client.references import parse

    with session(ctx) as client:
        if delete:
            found = client.versions.delete_alias(parse(version).model, alias)
        else:
            found = client.versions.set_alias(version, alias)
    if as_json:
        return print_json(found)
    say(f"{found.name}: " + ", ".join(f"{name} → {number}" for name, number in sorted(found.aliases.items())))


def gates_in_short(version: "model_pb2.ModelVersion") -> str:
    """Passed of judged gates, or a dash for a version that was not judged."""
    return f"{sum(gate.passed for gate in version.gates)}/{len(version.gates)}" if version.gates else "–"


def show_gates(gates: "Iterable[model_pb2.GateResult]") -> None:
    """A table of gate numbers."""
    table(
        ["*gate", "*verdict", "numbers", "why"],
        (
            [
                gate.gate,
                "passed" if gate.passed else "refused",
                "  ".join(f"{name}={value:.4g}" for name, value in sorted(gate.numbers.items())),
                gate.reason,
            ]
            for gate in gates
        ),
        title="\ngates",
    )


def _tensors(tensors: object) -> str:
    return "\n".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors)  # type: ignore[attr-defined]
