"""Top-level verbs that change who serves: promote, approve, rollback, retire, autopilot."""

from typing import TYPE_CHECKING, Annotated

import typer

from gyrostat_client.cli.options import Json, Model, RequestId, Version, complete_model
from gyrostat_client.cli.output import percent, print_json, say
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat.events.v1 import events_pb2
    from gyrostat_client.client import Client

RequiredReason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
Revision = Annotated[
    int, typer.Option("--expected-revision", min=0, help="Refuse unless the plan is at this revision.")
]
Wait = Annotated[
    float, typer.Option("--wait", min=0, max=600, metavar="SECONDS", help="For the replicas to serve the change.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not look whether the replicas serve the change.")]


def promote(
    ctx: typer.Context,
    version: Version,
    reason: RequiredReason,
    force: Annotated[bool, typer.Option("--force", help="Also a version that a gate refused.")] = False,
    expected_revision: Revision = 0,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Makes a version champion at once, by hand; the judge may still take it back."""
    from gyrostat_client.references import parse_version

    named = parse_version(version)
    with session(ctx) as client:
        number = client.versions.number(version)
        done = client.rollouts.promote(
            named.model, number, reason=reason, force=force, expected_revision=expected_revision, request_id=request_id
        )
        if as_json:
            return print_json(done)
        _say_plan(done.plan)
        if not no_wait:
            _say_following(client, done.plan, wait)
    if done.plan.fallback.number:
        say(
            f"next: gyrostat rollback {named.model} --reason '…' puts {named.model}:{done.plan.fallback.number} back",
            style="dim",
        )


def approve(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|VERSION|ROLLOUT", help="fraud, fraud:4 or a roll-out's id.", autocompletion=complete_model
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")] = "",
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Lets a proposed roll-out start."""
    from gyrostat_client.plain import word
    from gyrostat_client.references import is_prediction_id

    with session(ctx) as client:
        rollout = what if is_prediction_id(what) else _proposed(client, what)
        done = client.rollouts.approve(rollout, reason=reason, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"roll-out {done.id} of {done.model}:{done.version} is {word(done, 'state')} at {percent(done.weight)}")


def rollback(
    ctx: typer.Context,
    model: Model,
    reason: RequiredReason,
    expected_revision: Revision = 0,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Ends an open roll-out, or puts the previous champion back when none is open."""
    with session(ctx) as client:
        done = client.rollouts.rollback(
            model, reason=reason, expected_revision=expected_revision, request_id=request_id
        )
        if as_json:
            return print_json(done)
        _say_plan(done.plan)
        if not no_wait:
            _say_following(client, done.plan, wait)


def retire(
    ctx: typer.Context,
    model: Model,
    reason: RequiredReason,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Takes a model out of service: it answers NOT_FOUND from then on."""
    if not yes and not as_json:
        typer.confirm(f"{model} will answer nobody. Go on?", abort=True)
    with session(ctx) as client:
        plan = client.rollouts.retire(model, reason=reason, request_id=request_id)
    if as_json:
        return print_json(plan)
    say(f"{model} is retired as of plan revision {plan.revision}")


def autopilot(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL] [on|propose|off]", help="Without a mode: what is in force."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The switch for all models, which only ever narrows.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")] = "",
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Who decides about roll-outs: on (the system), propose (a person), off (nothing starts, open ones hold)."""
    from gyrostat_client.plain import word

    model, mode = _switch(words or [], everything)
    with session(ctx) as client:
        if mode:
            client.models.set_autopilot(mode, model, reason=reason, request_id=request_id)
        found = client.models.autopilot(model)
    if as_json:
        return print_json(found)
    everywhere = f"all models: {word(found, 'global_mode') or 'on'}"
    if not model:
        return say(everywhere)
    say(
        f"{model}: {word(found, 'effective') or 'propose'} in force "
        f"(its own switch {word(found, 'model_mode') or 'propose'}; {everywhere})"
    )


def _switch(words: list[str], everything: bool) -> tuple[str, str]:
    """Model (empty: all) and mode (empty: only show) out of the words."""
    modes = ("on", "propose", "off")
    expected = 1 if everything else 2
    if not words:
        return "", ""
    mode = words[-1].lower() if words[-1].lower() in modes else ""
    names = words[:-1] if mode else words
    if len(words) > expected or (everything and names) or (not everything and len(names) != 1):
        raise typer.BadParameter(
            "it is `autopilot [MODEL]`, `autopilot MODEL on|propose|off`, or `autopilot --all off`"
        )
    return ("", mode) if everything else (names[0], mode)


def _proposed(client: object, what: str) -> str:
    """Id of the one roll-out of a model or version that waits for approval."""
    from gyrostat.registry.v1 import registry_pb2
    from gyrostat_client.references import parse
    from gyrostat_common.errors import NotFound

    named = parse(what)
    number = client.versions.number(what) if named.version else 0  # type: ignore[attr-defined]
    waiting = [
        one
        for one in client.rollouts.list(named.model, open_only=True)  # type: ignore[attr-defined]
        if one.state == registry_pb2.ROLLOUT_STATE_PROPOSED and number in (0, one.version)
    ]
    if not waiting:
        raise NotFound(f"no roll-out of {what} waits for approval; `gyrostat rollouts list --open` shows what is open")
    return str(waiting[0].id)


def _say_plan(plan: "events_pb2.ServingPlan") -> None:
    """Who serves now."""
    champion = (
        f"{plan.model}:{plan.champion.number} is champion" if plan.champion.number else f"{plan.model} has no champion"
    )
    canary = f", canary {plan.canary.number} at {percent(plan.canary_weight)}" if plan.canary.number else ""
    shadows = ", ".join(str(one.version.number) for one in plan.shadows)
    say(f"{champion}{canary}{f', shadow {shadows}' if shadows else ''} (plan revision {plan.revision})")


def _say_following(client: "Client", plan: "events_pb2.ServingPlan", wait: float) -> None:
    """Who serves it already. The change is made all the same: replicas follow when they can."""
    found = client.plans.followed(plan, within_s=wait)
    first, *others = found.lines()
    say(first, style="" if found.serving else "yellow")
    for line in others:
        say(line, style="yellow")
