"""The end of the demo in words: at most 25 lines that a stranger understands, and the same as JSON.

Made from findings and figures only. `chart` draws, `demo` writes the files.
"""

import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import jsonschema

from flights.arms import Score
from flights.books import Books
from flights.findings import Incident, Promotion
from flights.stories import Story, chosen
from flights.timeline import Moment

MAX_LINES: Final = 25
SCHEMA: Final = Path(__file__).with_name("report.schema.json")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
ARMS: Final = ("live", "frozen", "cron")


@dataclass(frozen=True)
class Month:
    """One line of the table."""

    month: int
    flights: int
    outcomes: int
    arms: dict[str, Score]


@dataclass(frozen=True)
class Report:
    """Everything the demo found out."""

    seed: int
    full: bool
    months: list[Month]
    total: Month
    books: Books
    promotions: list[Promotion]
    incidents: list[Incident]
    moments: list[Moment]
    stories: list[Story]
    steering: list[str]
    timings_s: dict[str, float]
    folder: str

    @property
    def caused(self) -> list[Promotion]:
        """Promotions that an episode caused and that nobody took back."""
        return [one for one in self.promotions if one.episode and not one.by_hand and not one.taken_back]

    @property
    def shortcomings(self) -> list[str]:
        """Why the exit code is not 0; empty when it is."""
        found = [] if self.books.balanced else ["the books do not balance"]
        if self.steering:
            found.append(f"the demo steered: {'; '.join(self.steering[:3])}")
        if self.full:
            found += [] if self.caused else ["no promotion was caused by an episode"]
            found += [f"incident {one.name} was not caught" for one in self.incidents if not one.caught]
        return found


def lines(report: Report) -> list[str]:
    """The summary; never more than MAX_LINES."""
    head = [_verdict(report), _against_cron(report)]
    tail = [*_books(report), *_chain(report), _closer(report)]
    table = _table(report)
    room = MAX_LINES - len(head) - len(tail) - len(table)
    return [*head, *map(_fit, chosen(report.stories, room)), *table, *tail]


def _verdict(report: Report) -> str:
    if report.shortcomings:
        return f"NOT AS IT SHOULD BE: {'; '.join(report.shortcomings)}."
    caught = sum(one.caught for one in report.incidents)
    times = {1: "once", 2: "twice"}.get(len(report.caused), f"{len(report.caused)} times")
    incidents = f", caught {caught} of {len(report.incidents)} incidents" if report.incidents else ""
    if not report.caused:
        return f"The books balance{incidents}; nothing in this slice called for a new model."
    return f"The loop closed {times} by itself{incidents}, and lost none of {report.books.answered:,} answers."


def _against_cron(report: Report) -> str:
    live, frozen, cron = (report.total.arms[arm].log_loss for arm in ARMS)
    if not all(math.isfinite(value) for value in (live, frozen, cron)):
        return "Not every arm has figures for this slice."
    against_frozen = "better" if live < frozen else "no better"
    word = "beats" if live < cron else "does NOT beat"
    return (
        f"Governed {word} monthly retraining without checks: log loss {live:.4f} against {cron:.4f}; "
        f"{against_frozen} than never retraining ({frozen:.4f})."
    )


def _fit(line: str, width: int = 240) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _table(report: Report) -> list[str]:
    head = "month  flights outcomes   AUC live frozen  cron    log loss live frozen   cron"
    return [head, *(_row(MONTHS[one.month - 1], one) for one in report.months), _row("all", report.total)]


def _row(name: str, one: Month) -> str:
    aucs = " ".join(_number(one.arms[arm].auc, 3, 6) for arm in ARMS)
    losses = " ".join(_number(one.arms[arm].log_loss, 4, 6) for arm in ARMS)
    return f"{name:<5} {one.flights:>8,} {one.outcomes:>8,}     {aucs}           {losses}"


def _number(value: float, digits: int, width: int) -> str:
    return f"{value:>{width}.{digits}f}" if math.isfinite(value) else " " * (width - 1) + "-"


def _books(report: Report) -> list[str]:
    books = report.books
    coverage = books.outcomes_joined / books.answered if books.answered else 0.0
    return [
        f"Books: sent {books.sent:,} = answered {books.answered:,} = logged {books.logged:,} = archived "
        f"{books.archived:,}; lost {books.lost:,}, duplicates removed {books.duplicates_removed:,}; outcomes for "
        f"{coverage:.1%} (the rest was cancelled or diverted)."
    ]


def _chain(report: Report) -> list[str]:
    last = next((one for one in reversed(report.promotions) if one.episode and not one.taken_back), None)
    if last is None:
        return []
    took = ""
    if last.seconds_to_live is not None and last.flights_to_live is not None:
        took = f" {last.seconds_to_live:.0f} s and {last.flights_to_live:,} flights after it was confirmed"
    return [f"Why it went live{took}: {' <- '.join(last.chain)}"]


def _closer(report: Report) -> str:
    return (
        f"Look closer: {report.folder}/report.html; make up FROM={report.folder}, then "
        "gyrostat explain flights@champion, gyrostat episodes list flights"
    )


def as_json(report: Report) -> dict[str, Any]:
    """The report as its schema has it; raises jsonschema.ValidationError if it were not."""
    verdict = {"ok": not report.shortcomings, "shortcomings": report.shortcomings, "text": _verdict(report)}
    verdict["against_cron"] = _against_cron(report)
    content = {
        "verdict": verdict,
        "seed": report.seed,
        "books": asdict(report.books) | {"balanced": report.books.balanced},
        "arms": {"months": [_arm(one) for one in report.months], "total": _arm(report.total)},
        "timeline": [_plain(asdict(one)) for one in report.moments],
        "promotions": [_plain(asdict(one)) for one in report.promotions],
        "incidents": [_plain(asdict(one)) for one in report.incidents],
        "stories": [one.line() for one in report.stories],
        "steering": report.steering,
        "timings_s": {name: round(seconds, 2) for name, seconds in report.timings_s.items()},
        "latency": _latency(report),
        "lines": lines(report),
    }
    content = json.loads(json.dumps(content))
    jsonschema.validate(content, json.loads(SCHEMA.read_text()))
    return content  # type: ignore[no-any-return]


def _arm(one: Month) -> dict[str, Any]:
    scores = {arm: {key: _finite(value) for key, value in asdict(score).items()} for arm, score in one.arms.items()}
    return {"month": one.month, "flights": one.flights, "outcomes": one.outcomes, **scores}


def _latency(report: Report) -> list[dict[str, Any]]:
    """From the episode's confirmation until the version it caused was champion, per promotion."""
    return [
        {"version": one.version, "seconds": _finite(one.seconds_to_live), "flights": one.flights_to_live}
        for one in report.caused
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in record.items()}
