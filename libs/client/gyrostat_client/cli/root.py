"""The root command: global options, and errors as one line for what happened and one for what to do next.

Exit codes: 0 ok, 1 failed or refused, 2 usage, 3 not reachable.
"""

import json
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from gyrostat_client.cli.session import Globals, hoisted
from gyrostat_common.errors import (
    AlreadyExists,
    GyrostatError,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
    WrongState,
)

OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3


class Root(TyperGroup):
    """Moves global options to the front and turns exceptions into lines and exit codes."""

    def main(self, args: Any = None, *, standalone_mode: bool = True, **named: Any) -> Any:  # type: ignore[override]
        """Like Typer's own, but with `--json` a usage error is the promised object, not a box."""
        given = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in given:
            return super().main(args, standalone_mode=standalone_mode, **named)
        try:
            code = super().main(given, standalone_mode=False, **named)
        except Exception as error:  # Click has two families of errors; what is neither goes on
            if not _is_click(error):
                raise
            _refuse_as_json(error)
        sys.exit(code if isinstance(code, int) else OK)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Global options may stand anywhere."""
        ctx.meta["gyrostat.json"] = "--json" in args
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; nobody sees a traceback unless asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Somebody closed the pipe (`| head`): nothing more to say, also not at interpreter exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None
        except Exception as error:
            if _is_click(error) or (ctx.obj or Globals()).trace:
                raise
            code, message, hint = told(error)
            report(message, hint, as_json=ctx.meta.get("gyrostat.json", False), code=code)
            raise typer.Exit(code) from None


def _is_click(error: Exception) -> bool:
    """Usage errors and exits, which Typer itself shows."""
    return type(error).__module__.startswith(("click", "typer"))


def _refuse_as_json(error: Any) -> NoReturn:
    """A usage error, or a question that was not answered with yes, as the object."""
    code = getattr(error, "exit_code", FAILED)
    message = error.format_message() if hasattr(error, "format_message") else "not confirmed; nothing was done"
    context = getattr(error, "ctx", None)
    report(message, f"`{context.command_path} --help` shows how" if context else "", as_json=True, code=code)
    sys.exit(code)


def told(error: Exception) -> tuple[int, str, str]:
    """Exit code, what happened, what to do next."""
    from gyrostat_client.errors import BadAddress, Unreachable
    from gyrostat_client.references import BadReference
    from gyrostat_common.settings import SettingsError

    if isinstance(error, Unreachable):
        return UNREACHABLE, str(error), unreachable_hint(error.service)
    if isinstance(error, SettingsError):
        return USAGE, str(error), "correct or unset the variable"
    if isinstance(error, BadReference | BadAddress):
        return USAGE, str(error), ""
    if isinstance(error, NotFound):
        return FAILED, str(error), _NOT_FOUND.get(_reason(error), "")
    if isinstance(error, GyrostatError):
        return FAILED, str(error), next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")
    return FAILED, f"{type(error).__name__}: {error}", "this is a fault of the command; `--trace` shows where"


_HINTS: dict[type[GyrostatError], str] = {
    AlreadyExists: "`show` prints what is there already",
    WrongState: "`gyrostat status` shows where things stand",
    Overloaded: "try again in a moment",
    Unavailable: "try again in a moment; `gyrostat doctor` looks for the reason",
    InvalidInput: "",
}
# What shows what there is, by the service's own error class; an error of the SDK itself says it in its message.
_NOT_FOUND = {
    "ModelNotFound": "`gyrostat models list` shows what there is",
    "ModelUnknown": "`gyrostat status` shows the models and what is live",
    "VersionNotFound": "`gyrostat versions list MODEL` shows what there is",
    "VersionNotServed": "`gyrostat plans show MODEL` shows what is live",
    "AliasNotFound": "`gyrostat models show MODEL` shows its aliases",
    "RunNotFound": "`gyrostat runs list` shows what there is",
    "RunUnknown": "`gyrostat runs list` shows what there is",
    "RolloutNotFound": "`gyrostat rollouts list` shows what there is",
    "PlanNotFound": "`gyrostat plans history MODEL` shows every plan",
    "EpisodeUnknown": "`gyrostat episodes list` shows what there is",
    "PredictionUnknown": "an answer is archived some seconds after it was given",
}


def _reason(error: Exception) -> str:
    """The service's own error class, from the error's notes."""
    notes = (note.partition("error-reason: ")[2] for note in getattr(error, "__notes__", ()))
    return next(filter(None, notes), "")


def unreachable_hint(service: str) -> str:
    """How to start a service or name another address."""
    if service == "Kafka":
        return (
            "is it running? `make up` starts it; `--kafka HOST:PORT` or GYROSTAT_KAFKA__BOOTSTRAP_SERVERS "
            "names another address"
        )
    return (
        f"is it running? `make up` starts all services; `--{service} HOST:PORT` or "
        f"GYROSTAT_CLIENT__{service.upper()}_ADDRESS names another address"
    )


def report(message: str, hint: str, *, as_json: bool, code: int) -> None:
    """The error on stderr, as two lines or as JSON."""
    if as_json:
        print(json.dumps({"error": message, "next": hint, "exit_code": code}, ensure_ascii=False), file=sys.stderr)
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    console.print("error:", style="bold red", end=" ")
    console.print(message, markup=False)
    if hint:
        console.print(f"next:  {hint}", style="dim", markup=False)
