"""Options that many commands share, and the completion of model names."""

from typing import Annotated

import typer


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Model names from the registry; nothing when it does not answer within a second."""
    from gyrostat_client.client import Client

    try:
        with Client(timeout_s=1.0) as client:
            return [model.name for model in client.models.list(limit=100) if model.name.startswith(incomplete)]
    except Exception:
        return []  # completion must never print an error into the line that is being typed


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")]
Model = Annotated[str, typer.Argument(help="Name of the model.", autocompletion=complete_model)]
NamedModel = Annotated[str, typer.Argument(metavar="MODEL", help="Only of this model.", autocompletion=complete_model)]
OptionalModel = Annotated[str, typer.Option("--model", "-m", help="Only of this model.", autocompletion=complete_model)]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="fraud:3, fraud@champion or fraud:v1.2.", autocompletion=complete_model)
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeat of the command safe. Default: a fresh one.")
]
