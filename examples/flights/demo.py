"""`make demo`: the whole loop on a real year of flights, and at the end what happened, in at most 25 lines.

Starts Kafka and the four services in one folder, trains and promotes version 1 by hand, replays the rest of the year,
and then only reads. Exit code 0: the books balance and, for the default seed and months, the loop did its work.
"""

import argparse
import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from time import monotonic
from urllib.parse import urlparse

import numpy as np
import psutil
from rich.console import Console

from flights import archive, arms, books, chart, findings, pipeline, policy, report, stories, timeline
from flights.incidents import Incidents, careless
from flights.prepare import Start, prepare
from flights.replay import Ledger, Pace, Replay
from flights.services import Services, connect, upload
from flights.traffic import Traffic
from flights.view import View
from flights.watch import Facts, Watch
from flights.year import Flights, load
from gyrostat.registry.v1 import registry_pb2
from gyrostat_local import LocalSystem

DEFAULT_SEED = 2013
DEFAULT_MONTHS = 12
DEFAULT_TRAIN_MONTHS = 2


@dataclass
class Release:
    """The operator's release by hand, once it has happened."""

    version: int | None = None


def main() -> None:
    """Entry point of `python -m flights.demo`."""
    arguments = _arguments()
    sys.exit(asyncio.run(run(arguments)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flights.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of the trainings and of the prediction ids")
    parser.add_argument("--months", type=int, default=DEFAULT_MONTHS, help="replay up to this month of 2013")
    parser.add_argument("--train-months", type=int, default=DEFAULT_TRAIN_MONTHS, help="months before the replay")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="made anew; holds everything after")
    parser.add_argument("--ports", choices=["default", "free"], default="free", help="where the services listen")
    parser.add_argument("--no-incidents", action="store_true", help="without the two declared incidents")
    parser.add_argument("--celsius", type=date.fromisoformat, help="first day of the feed in Celsius")
    parser.add_argument("--release", type=date.fromisoformat, help="day of the careless release")
    parser.add_argument("--speed", type=float, default=0.0, help="event days per second at most; 0: no limit")
    parser.add_argument("--quiet", action="store_true", help="only the lines at the end")
    parser.add_argument("--json", action="store_true", help="report.json instead of the lines")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> int:
    """Runs the demo and returns its exit code."""
    view = View(Console(stderr=arguments.json), arguments.quiet or arguments.json)
    flights = load()
    first = flights.months(1, arguments.train_months)
    rest = flights.months(arguments.train_months + 1, arguments.months)
    incidents = Incidents.none()
    if not arguments.no_incidents:
        incidents = Incidents.planned(arguments.months, arguments.celsius, arguments.release)
    traffic = Traffic.of(incidents.on_the_feed(rest), arguments.seed)
    folder = _fresh(arguments.folder)
    view.step(f"{len(first):,} flights to learn from, {len(rest):,} to ask about; everything is kept in {folder}")
    cron = asyncio.create_task(arms.cron(first, traffic.flights, folder / "cron", arguments.seed))
    try:
        run_ = Run(arguments, view, first, traffic, incidents, folder)
        async with LocalSystem(folder, arguments.ports) as system:
            view.step("Kafka and the four services answer")
            result = await run_.go(system, cron)
    finally:
        cron.cancel()
    return _publish(arguments, result, traffic, run_.scores, incidents, folder)


def _fresh(folder: Path) -> Path:
    """An empty folder; only one that a demo made is ever removed."""
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / ".flights-demo").exists():
        raise SystemExit(f"{folder} holds something that no demo made; name another with --folder")
    if LocalSystem.running(folder) is not None:
        raise SystemExit(f"{folder} is being served: `make down` first")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / ".flights-demo").touch()
    return folder


class Run:
    """One run against one system, in the order in which things happen."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        view: View,
        first: Flights,
        traffic: Traffic,
        incidents: Incidents,
        folder: Path,
    ) -> None:
        self._arguments, self._view, self._first = arguments, view, first
        self._traffic, self._incidents, self._folder = traffic, incidents, folder
        self._release = Release()
        self._timings = {"start": monotonic()}
        self._seconds: dict[str, float] = {}
        self.scores: dict[str, np.ndarray] = {}

    async def go(self, system: LocalSystem, cron: "asyncio.Task[np.ndarray]") -> report.Report:
        """Set-up, replay, settling, counting."""
        async with (
            connect(system.address, policy.ACTOR) as services,
            connect(system.address, policy.OPERATOR) as operator,
        ):
            self._lap("services started")
            start = await prepare(services, self._first, self._arguments.seed)
            self._view.step(f"version {start.version} trained, promoted by hand and pinned as the frozen arm")
            self._lap("first version live")
            watch = Watch(services)
            ledger = await self._replay(services, operator, watch)
            self._lap("replay")
            self._seconds |= {f"waited for {whom}": seconds for whom, seconds in ledger.waited_s.items()}
            await books.settle(services, self._folder / "archive", watch, ledger)
            self._lap("settled")
            facts = await watch.everything()
            balance, archived = await books.balance(
                services, system.kafka, self._folder / "archive", self._traffic, ledger, watch
            )
            self._lap("books")
            self._seconds |= {f"cpu {name}": _cpu_s(child.pid) for name, child in system.processes.items()}
            scores = {"live": ledger.scores, "cron": await cron}
            scores["frozen"] = archived.scores_of(start.version, len(self._traffic.flights))
            self._lap("arms")
        return self._report(facts, balance, ledger, scores, start)

    def _lap(self, name: str) -> None:
        self._timings[name] = monotonic()

    async def _replay(self, services: Services, operator: Services, watch: Watch) -> Ledger:
        replay = Replay(services, self._traffic, watch, Pace(days_per_s=self._arguments.speed))
        if self._incidents.release_at is not None:
            self._appoint_release(replay, operator, int(self._incidents.release_at.timestamp() * 1e6))
        async with watch.looking(), self._view.following(replay, watch):
            return await replay.run()

    def _appoint_release(self, replay: Replay, operator: Services, at_us: int) -> None:
        async def release() -> None:
            self._release.version = await self._release_by_hand(operator, at_us)

        replay.at(at_us, release)

    async def _release_by_hand(self, operator: Services, at_us: int) -> int:
        at = datetime.fromtimestamp(at_us / 1e6, UTC)
        known = arms.landed_by(self._first, self._traffic.flights, at)
        model = await pipeline.train(careless(known), self._folder / "careless", self._arguments.seed)
        digest = await upload(operator, model)
        made = await operator.registry.CreateModelVersion(
            registry_pb2.CreateModelVersionRequest(
                request_id="operator-version",
                model=policy.MODEL,
                artifact_sha256=digest,
                cause=policy.OPERATOR,
                description="fewer inputs to look after",
                hold=True,
            )
        )
        promote = registry_pb2.PromoteRequest(
            request_id="operator-promote", model=policy.MODEL, number=made.version.number, reason="we need it today"
        )
        promote.event_time.FromMicroseconds(at_us)
        await operator.registry.Promote(promote)
        self._view.step(f"{at:%d %b}  an operator releases version {made.version.number} by hand, past all checks")
        return int(made.version.number)

    def _report(
        self, facts: Facts, balance: books.Books, ledger: Ledger, scores: dict[str, np.ndarray], start: Start
    ) -> report.Report:
        found = [
            findings.celsius(facts, self._incidents, self._tainted(facts)),
            findings.release(facts, ledger, self._release.version, self._incidents.release_at),
        ]
        incidents = [one for one in found if one is not None]
        months = [self._month(int(month), scores, ledger) for month in np.unique(self._traffic.flights.month)]
        marks = list(self._timings.items())
        self.scores = scores
        return report.Report(
            seed=self._arguments.seed,
            full=_is_full(self._arguments),
            months=months,
            total=self._month(0, scores, ledger),
            books=balance,
            promotions=findings.promotions(facts, ledger, self._traffic),
            incidents=incidents,
            stories=stories.tell(facts.picture, incidents),
            moments=timeline.moments(facts.picture),
            steering=findings.steering(facts, start.last_audit, self._release.version),
            timings_s={name: at - before for (_, before), (name, at) in pairwise(marks)} | self._seconds,
            folder=_shown(self._folder),
        )

    def _tainted(self, facts: Facts) -> dict[str, int]:
        """Rows of the broken feed in the snapshot of each run that ended after it began."""
        start, end = self._incidents.celsius_from, self._incidents.celsius_to
        if start is None or end is None:
            return {}
        runs = [run.run for run in facts.picture.runs if run.watermark.ToMicroseconds() > start.timestamp() * 1e6]
        copies = {run.id: urlparse(run.snapshot.copy.uri).path for run in runs if run.snapshot.copy.uri}
        return {name: archive.rows_between(Path(copy), start, end) for name, copy in copies.items()}

    def _month(self, month: int, scores: dict[str, np.ndarray], ledger: Ledger) -> report.Month:
        flights = self._traffic.flights
        rows = flights.month == month if month else np.ones(len(flights), bool)
        measured = {arm: arms.measure(flights.late, scores[arm], rows) for arm in report.ARMS}
        return report.Month(month, int(rows.sum()), int((rows & ledger.outcome_sent).sum()), measured)


def _cpu_s(pid: int) -> float:
    """Processor seconds of a process and its living children so far."""
    process = psutil.Process(pid)
    return float(sum(sum(one.cpu_times()[:4]) for one in (process, *process.children(recursive=True))))


def _is_full(arguments: argparse.Namespace) -> bool:
    usual = (DEFAULT_SEED, DEFAULT_MONTHS, DEFAULT_TRAIN_MONTHS)
    return (arguments.seed, arguments.months, arguments.train_months) == usual and not arguments.no_incidents


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _publish(
    arguments: argparse.Namespace,
    result: report.Report,
    traffic: Traffic,
    scores: dict[str, np.ndarray],
    incidents: Incidents,
    folder: Path,
) -> int:
    content = report.as_json(result)
    (folder / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    chart.write(folder, result, chart.draw(traffic.flights, scores, result, incidents))
    print(json.dumps(content, indent=1) if arguments.json else "\n".join(report.lines(result)))
    return 1 if result.shortcomings else 0


if __name__ == "__main__":
    main()
