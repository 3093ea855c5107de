"""`gyrostat rollouts …`, `gyrostat plans …`, `gyrostat audit …`."""

from typing import TYPE_CHECKING, Annotated

import typer

from gyrostat_client.cli.options import Json, Limit, Model, NamedModel, OptionalModel, Reason, RequestId, moment
from gyrostat_client.cli.output import details, minute, percent, print_json, say, table, utc
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat.events.v1 import events_pb2
    from gyrostat.registry.v1 import registry_pb2

rollouts = typer.Typer(help="How versions go live.", no_args_is_help=True)
plans = typer.Typer(help="Who serves what, now and before.", no_args_is_help=True)
audit = typer.Typer(help="Who changed what, and why.", no_args_is_help=True)

RolloutId = Annotated[str, typer.Argument(metavar="ID", help="Id of the roll-out.")]


@rollouts.command("list", epilog="Example: gyrostat rollouts list --open")
def list_rollouts(
    ctx: typer.Context,
    named: NamedModel = "",
    model: OptionalModel = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Roll-outs, newest first."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        found = client.rollouts.list(named or model, open_only=open_only, limit=limit)
    if as_json:
        return print_json(found)
    table(
        ["*id", "*version", ">from", "state", ">weight", "*created"],
        (
            [
                one.id,
                f"{one.model}:{one.version}",
                one.from_version or "–",
                word(one, "state") + (" (held)" if one.held else ""),
                percent(one.weight),
                minute(one.created_at),
            ]
            for one in found
        ),
        empty="no roll-outs" + (" are open" if open_only else ""),
    )


@rollouts.command("show", epilog="Example: gyrostat rollouts show 0198c2d4-…")
def show_rollout(ctx: typer.Context, rollout_id: RolloutId, as_json: Json = False) -> None:
    """A roll-out with every step and the evidence for it."""
    with session(ctx) as client:
        found = client.rollouts.get(rollout_id)
    if as_json:
        return print_json(found)
    print_rollout(found)


@rollouts.command("approve", epilog="Example: gyrostat rollouts approve 0198c2d4-… --reason 'evidence read'")
def approve_rollout(
    ctx: typer.Context, rollout_id: RolloutId, reason: Reason = "", request_id: RequestId = "", as_json: Json = False
) -> None:
    """Lets a proposed roll-out start."""
    from gyrostat_client.plain import word

    with session(ctx) as client:
        done = client.rollouts.approve(rollout_id, reason=reason, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"roll-out {done.id} of {done.model}:{done.version} is {word(done, 'state')}")


@rollouts.command("start", epilog="Example: gyrostat rollouts start fraud:4 --reason 'try it'")
def start_rollout(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="fraud:4 or fraud:v1.2.")],
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: Json = False,
) -> None:
    """Begins shadow → canary → champion for a version."""
    from gyrostat_client.plain import word
    from gyrostat_client.references import parse

    with session(ctx) as client:
        number = client.versions.number(version)
        done = client.rollouts.start(parse(version).model, number, reason=reason, request_id=request_id)
    if as_json:
        return print_json(done)
    say(f"roll-out {done.id} of {done.model}:{done.version} is {word(done, 'state')}")


@plans.command("show", epilog="Example: gyrostat plans show fraud --at 2013-07-04T12:00:00Z")
def show_plan(
    ctx: typer.Context,
    model: Model,
    at: Annotated[str, typer.Option("--at", help="Wall time, RFC 3339; default now.")] = "",
    as_json: Json = False,
) -> None:
    """The plan in force, now or at a time."""
    from gyrostat_client.plain import word

    wanted = moment(at, "--at")
    with session(ctx) as client:
        plan = client.plans.get(model, at=wanted)
    if as_json:
        return print_json(plan)
    details(
        {
            "plan": f"{plan.environment}/{plan.model} revision {plan.revision}",
            "made": f"{utc(plan.made_at)} by {plan.actor}",
            "champion": _planned(plan.champion) or "none: the model is retired",
            "canary": f"{_planned(plan.canary)} at {percent(plan.canary_weight)}" if plan.canary.number else "",
            "shadows": _shadows(plan),
            "fallback": _planned(plan.fallback),
            "phase": word(plan, "phase"),
            "roll-out": plan.rollout_id,
            "event time": utc(plan.event_time),
            "reason": plan.reason,
        }
    )


@plans.command("history", epilog="Example: gyrostat plans history fraud")
def plan_history(ctx: typer.Context, model: Model, limit: Limit = 50, as_json: Json = False) -> None:
    """Every revision of a model's plan, newest first."""
    with session(ctx) as client:
        found = client.plans.list(model, limit=limit)
    if as_json:
        return print_json(found)
    table(
        [">rev", "*made", ">champion", "canary", "shadows", "actor", "reason"],
        (
            [
                one.revision,
                utc(one.made_at),
                one.champion.number or "–",
                f"{one.canary.number} at {percent(one.canary_weight)}" if one.canary.number else "",
                _shadows(one),
                one.actor,
                one.reason,
            ]
            for one in found
        ),
        empty=f"{model} has no plan yet; `gyrostat promote {model}:1 --reason '…'` makes the first",
    )


@audit.command("list", epilog="Example: gyrostat audit list fraud --by ada")
def list_audit(
    ctx: typer.Context,
    named: NamedModel = "",
    model: OptionalModel = "",
    actor: Annotated[str, typer.Option("--by", help="Only of this actor.")] = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Calls and decisions that changed something, newest first."""
    with session(ctx) as client:
        found = client.audit.list(named or model, actor=actor, limit=limit)
    if as_json:
        return print_json(found)
    table(
        [">no", "*at", "actor", "*action", "*subject", "reason"],
        ([one.number, utc(one.at), one.actor, one.action, one.subject, one.reason] for one in found),
        empty="nothing was changed yet",
    )


def print_rollout(found: "registry_pb2.Rollout") -> None:
    """A roll-out for people."""
    from gyrostat_client.plain import word

    details(
        {
            "roll-out": found.id,
            "version": f"{found.model}:{found.version} (champion before: {found.from_version or 'none'})",
            "state": word(found, "state") + (" (held: autopilot is off)" if found.held else ""),
            "weight": percent(found.weight),
            "cause": found.cause,
            "loop": found.correlation_id,
            "started": f"{utc(found.created_at)} by {found.actor}" + (" by hand" if found.by_hand else ""),
            "approved by": ", ".join(found.approvals),
        }
    )
    table(
        [">rev", "*state", ">weight", "*event time", "actor", "reason"],
        (
            [
                step.plan_revision,
                word(step, "state"),
                percent(step.weight),
                utc(step.event_time),
                step.actor,
                step.reason,
            ]
            for step in found.steps
        ),
        title="\nsteps",
        empty="no steps yet",
    )


def _planned(version: "events_pb2.PlannedVersion") -> str:
    return f"version {version.number} ({version.artifact.sha256[:8]})" if version.number else ""


def _shadows(plan: "events_pb2.ServingPlan") -> str:
    return ", ".join(f"{one.version.number}{' pinned' if one.pinned else ''}" for one in plan.shadows)
