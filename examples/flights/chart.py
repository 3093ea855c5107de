"""One picture and one page: weekly log loss of the three arms, with what happened marked where it happened."""

import html
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from flights import arms
from flights.incidents import Incidents
from flights.report import ARMS, Report, lines
from flights.year import Flights

COLOURS = {"live": "#0b6e4f", "frozen": "#9aa0a6", "cron": "#d08c00"}
NAMES = {"live": "governed (live)", "frozen": "frozen (version 1)", "cron": "retrained monthly, unchecked"}


def draw(flights: Flights, scores: dict[str, np.ndarray], report: Report, incidents: Incidents) -> str:
    """The chart as SVG."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 4.6), layout="constrained")
    for arm in ARMS:
        weeks, losses = arms.by_week(flights, scores[arm])
        axes.plot(
            np.array(weeks), losses, color=COLOURS[arm], label=NAMES[arm], linewidth=2.2 if arm == "live" else 1.3
        )
    _mark_incidents(axes, incidents)
    _mark_promotions(axes, report)
    axes.set_ylabel("log loss by week (lower is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, ncols=3)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _mark_promotions(axes: Any, report: Report) -> None:
    low = axes.get_ylim()[0]
    for one in report.promotions:
        if one.at is None:
            continue
        colour = "#b3261e" if one.taken_back else "#0b6e4f"
        axes.axvline(one.at, color=colour, linewidth=0.9, linestyle=":")
        axes.annotate(
            f" v{one.version}{' taken back' if one.taken_back else ''}", (one.at, low), color=colour, fontsize=8
        )
    seen: set[str] = set()
    for moment in report.moments:
        confirmed = moment.kind == "episode" and "confirmed" in moment.what and moment.subject not in seen
        if confirmed and moment.event_time is not None:
            seen.add(moment.subject)
            quality = moment.what.startswith("data quality")
            axes.plot(moment.event_time, low, marker="^", color="#b3261e" if quality else "#444444", markersize=6)


def _mark_incidents(axes: Any, incidents: Incidents) -> None:
    if incidents.celsius_from and incidents.celsius_to:
        axes.axvspan(incidents.celsius_from, incidents.celsius_to, color="#b3261e", alpha=0.08, linewidth=0)
        _note(axes, incidents.celsius_from, "feed in Celsius")
    if incidents.release_at:
        _note(axes, incidents.release_at, "careless release")


def _note(axes: Any, at: datetime, text: str) -> None:
    high = axes.get_ylim()[1]
    axes.annotate(text, (at, high), color="#b3261e", fontsize=8, rotation=90, va="top", ha="right")


def page(report: Report, chart: str) -> str:
    """The whole report as one file without outside references."""
    chains = "".join(
        f"<li>v{one.version}: {html.escape(' ← '.join(one.chain))}</li>" for one in report.promotions if one.chain
    )
    rows = "".join(
        f"<tr class={'did' if one.acted else 'not'}><td>{one.event_time:%d %b %H:%M}</td>"
        f"<td>{html.escape(one.what)}</td><td>{html.escape(one.why)}</td><td><code>{html.escape(one.subject)}</code></td></tr>"
        if one.event_time
        else f"<tr><td></td><td>{html.escape(one.what)}</td><td>{html.escape(one.why)}</td><td></td></tr>"
        for one in report.moments
    )
    style = (
        "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
        "pre{font-size:13px;overflow-x:auto;background:#f6f6f4;padding:1em}svg{max-width:100%;height:auto}"
        "td{padding:.15em .8em .15em 0;vertical-align:top;font-size:13px}tr.not{color:#8a5a00}code{font-size:11px}"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Gyrostat: a year of flights</title>"
        f"<style>{style}</style><h1>A year of flights</h1><pre>{html.escape(chr(10).join(lines(report)))}</pre>"
        f"<figure>{chart}<figcaption>▲ episode confirmed (red: data quality); dotted: change of champion; "
        "shaded: the weather feed in Celsius.</figcaption></figure>"
        f"<h2>Chains behind the promotions</h2><ul>{chains}</ul>"
        f"<h2>Everything that happened, and every decision not to act</h2><table>{rows}</table></html>"
    )


def write(folder: Path, report: Report, chart: str) -> Path:
    """Writes report.html."""
    file = folder / "report.html"
    file.write_text(page(report, chart), encoding="utf-8")
    return file
