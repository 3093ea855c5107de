"""Top-level verbs that look: status, explain, doctor."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gyrostat_client.cli.options import Json
from gyrostat_client.cli.output import console, grid, percent, print_json, print_json_line, say, table, utc
from gyrostat_client.cli.session import session

if TYPE_CHECKING:
    from gyrostat_client.client import Client
    from gyrostat_client.explain import Link
    from gyrostat_client.status import AlertLine, ModelLine, ReplicaLine, Status

# Only a model's name may wrap: cells break where a person would, not in the middle of a word.
_MODEL_COLUMNS = (
    *("model", ">champ", "*canary", "*roll-out", "*pilot"),
    *("*watermark", "*state", ">epis.", ">labels", ">rev"),
)
_LEFT_OUT_WHEN_NARROW = ("*pilot", ">rev")
_NARROW = 100
_REPLICA_COLUMNS = ("replica", "*last heard", "serves", "behind", "not loaded")


def status(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew until interrupted.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Models, roll-outs, episodes, label coverage, replicas and lag on one page."""
    with session(ctx) as client:
        if watch:
            return _watch(client, every, as_json)
        found = _status(client)
    if as_json:
        return print_json(found)
    console().print(page(found, console().width))


def explain(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="PREDICTION|VERSION", help="A prediction id, or fraud:3, fraud@champion.")
    ],
    as_json: Json = False,
) -> None:
    """Why did this version answer this? The chain from a prediction to the promotion and its cause."""
    from rich.tree import Tree

    from gyrostat_client import explain as chain

    with session(ctx) as client:
        root = client.portal.call(chain.explain(client.asynchronous, what))
    gaps = list(chain.missing(root))
    if as_json:
        return print_json({"chain": root, "missing": gaps})
    tree = Tree(_link(root), guide_style="dim")
    _grow(tree, root)
    console().print(tree)
    if gaps:
        say(f"\n{len(gaps)} link{'s' * (len(gaps) != 1)} missing:", style="bold yellow")
        for gap in gaps:
            say(f"  {gap.kind} {gap.id}: {gap.text}")
    else:
        say("\nno link is missing", style="dim")


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Looks for what can be wrong: services, alerts, Kafka, topics, consumers, unreadable state, clocks, disk."""
    from gyrostat_client import doctor as doctoring

    with session(ctx) as client:
        checks = client.portal.call(doctoring.examine(client.asynchronous))
    states = {check.state for check in checks}
    if as_json:
        print_json(checks)
    else:
        from rich.text import Text

        styles = {"ok": "green", "warning": "yellow", "failed": "bold red", "unreachable": "bold red"}
        table(
            ["*what", "*state", "found", "next"],
            ([check.name, Text(check.state, style=styles[check.state]), check.found, check.next] for check in checks),
        )
    if "unreachable" in states:
        raise typer.Exit(3)
    if "failed" in states:
        raise typer.Exit(1)


def page(found: "Status", width: int) -> Any:
    """The page of `status` as one thing to print in so many columns; below 100 autopilot and revision are left out."""
    from rich.console import Group
    from rich.text import Text

    kept = [at for at, name in enumerate(_MODEL_COLUMNS) if width >= _NARROW or name not in _LEFT_OUT_WHEN_NARROW]
    rows = [[row[at] for at in kept] for row in map(_row, found.models)]
    parts: list[Any] = [
        *(Text(_alert(one), style="bold red" if one.severity == "critical" else "yellow") for one in found.alerts),
        grid([_MODEL_COLUMNS[at] for at in kept], rows, title=f"environment {found.environment}")
        if found.models
        else Text("no models yet; `gyrostat models create NAME` makes one", style="dim"),
        grid(_REPLICA_COLUMNS, [_replica(one) for one in found.replicas])
        if found.replicas
        else Text("no replica has said anything yet", style="yellow"),
    ]
    if found.lag_records:
        lag = "  ".join(f"{topic} {count:,}" for topic, count in sorted(found.lag_records.items()))
        parts.append(Text(f"monitor's lag in records: {lag}", style="dim"))
    parts += [Text(line, style="yellow") for line in map(_unjoined, found.models) if line]
    parts += [Text(line, style="yellow") for one in found.replicas for line in _dropped(one)]
    parts += [Text(f"note: {note}", style="yellow") for note in found.notes]
    return Group(*parts)


def _unjoined(line: "ModelLine") -> str:
    """Outcomes that have found no prediction, or empty when all have."""
    counts = ((line.outcomes_parked, "wait for their prediction"), (line.outcomes_expired, "never found theirs"))
    said = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{line.model}'s outcomes: {said}" if said else ""


def _alert(one: "AlertLine") -> str:
    return f"ALERT {one.summary} (since {utc(one.since)}{f'; owner {one.owner}' if one.owner else ''})"


def _dropped(one: "ReplicaLine") -> list[str]:
    """Answered rows that never reached the log."""
    return [f"{one.replica} lost {rows:,} answered rows: {reason}" for reason, rows in one.dropped.items()]


def _replica(one: "ReplicaLine") -> list[object]:
    serves = ", ".join(f"{model} r{revision}" for model, revision in one.revisions.items())
    return [one.replica, _heard(one.at), serves or "nothing yet", ", ".join(one.behind), ", ".join(one.failed)]


def _heard(at: datetime | None) -> str:
    """When a replica was last heard, and whether that is too long ago: it says something every ten seconds."""
    silent = at is None or datetime.now(UTC) - at > timedelta(minutes=1)
    return f"{utc(at)}{' silent' if silent else ''}"


def _row(line: "ModelLine") -> list[object]:
    canary = f"{line.canary} at {percent(line.canary_weight)}" if line.canary else ""
    if line.shadows:
        canary = f"{canary}\nshadow {','.join(map(str, line.shadows))}".strip()
    rollout = f"{line.rollout} v{line.rollout_version}" if line.rollout else ""
    coverage = "–" if line.label_coverage is None else f"{line.label_coverage:.0%}"
    watermark = f"{line.watermark:%Y-%m-%d\n%H:%MZ}" if line.watermark else "–"
    return [
        line.model,
        line.champion or "none",
        canary,
        rollout + ("\nheld" if line.held else ""),
        line.autopilot,
        watermark,
        line.state or "–",
        len(line.open_episodes) or "",
        coverage,
        line.plan_revision,
    ]


def _status(client: "Client") -> "Status":
    from gyrostat_client import status as reading

    return client.portal.call(reading.status(client.asynchronous))


def _watch(client: "Client", every: float, as_json: bool) -> None:
    """Shows the page anew until interrupted; as JSON, an object a look."""
    import threading

    from rich.live import Live

    pause = threading.Event()
    if as_json:
        while True:
            print_json_line(_status(client))
            pause.wait(every)
    with Live(page(_status(client), console().width), console=console(), auto_refresh=False, screen=False) as live:
        while True:
            pause.wait(every)
            live.update(page(_status(client), console().width), refresh=True)


def _link(link: "Link") -> Any:
    from rich.text import Text

    line = Text()
    line.append(f"{link.kind} ", style="bold yellow" if link.missing else "bold cyan")
    line.append(f"{link.id}  " if link.id else "")
    if link.at is not None:
        line.append(f"{utc(link.at)}  ", style="dim")
    line.append(("missing: " if link.missing else "") + link.text, style="yellow" if link.missing else "")
    return line


def _grow(tree: Any, link: "Link") -> None:
    for child in link.links:
        _grow(tree.add(_link(child)), child)
