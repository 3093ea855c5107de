"""Options that many commands share, and the completion of model names."""

from datetime import UTC, datetime
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


def moment(text: str, option: str) -> datetime | None:
    """The RFC 3339 time of an option; None for an empty one. Anything else is a usage error."""
    from gyrostat_common.errors import InvalidInput
    from gyrostat_common.times import parse_rfc3339

    try:
        return parse_rfc3339(text) if text else None
    except InvalidInput as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def day_or_moment(text: str, option: str) -> datetime | None:
    """Like `moment`, and a date or a time without a zone is UTC."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        said = f"{text!r} is neither a date nor an RFC 3339 time such as 2013-03-01T12:00:00Z"
        raise typer.BadParameter(said, param_hint=option) from None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
