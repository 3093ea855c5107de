"""What the demo says at the end: from records of the services to lines, JSON and a page."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pytest

from flights import archive, chart, findings, report, stories, timeline
from flights.arms import Score
from flights.books import Books, Spool
from flights.incidents import Incidents
from flights.policy import ACTOR
from flights.replay import Ledger
from flights.report import Month, Report
from flights.traffic import Traffic
from flights.watch import Facts, Picture
from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_common.times import to_proto

from .test_flights_traffic import START_US, some_flights

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = datetime.fromtimestamp(START_US / 1e6, UTC)
EPISODE = "0b6e4f00-0000-5000-8000-000000000001"


def an_episode(kind: int = events_pb2.DRIFT_KIND_PERFORMANCE, features: tuple[str, ...] = ()) -> monitor_pb2.Episode:
    episode = monitor_pb2.Episode()
    episode.latest.episode_id = EPISODE
    episode.latest.kind = kind
    episode.latest.version = 1
    episode.latest.started_at.CopyFrom(to_proto(DAY))
    episode.latest.exemplars.extend(["p/0", "p/1"])
    for name in features:
        episode.latest.features.add(feature=name, statistic="jump_sd")
    confirmed = episode.transitions.add(state=events_pb2.EPISODE_STATE_CONFIRMED, summary="loss is up by a fifth")
    confirmed.watermark.CopyFrom(to_proto(DAY))
    confirmed.at.CopyFrom(to_proto(NOON))
    return episode


def a_run(version: int = 2, cause: str = EPISODE) -> trainer_pb2.TrainingRun:
    run = trainer_pb2.TrainingRun()
    run.run.id, run.run.status, run.run.version = f"run-{version}", "succeeded", version
    run.run.causes.append(cause)
    run.run.snapshot.sha256, run.run.snapshot.rows = "ab" * 32, 1234
    run.run.snapshot.event_time_to.CopyFrom(to_proto(DAY))
    run.run.started_at.CopyFrom(to_proto(NOON + timedelta(seconds=version)))
    run.run.ended_at.CopyFrom(to_proto(NOON + timedelta(seconds=version)))
    run.watermark.CopyFrom(to_proto(DAY))
    return run


def a_rollout(version: int = 2, *states: int, by_hand: bool = False) -> registry_pb2.Rollout:
    states = states or (registry_pb2.ROLLOUT_STATE_SHADOW, registry_pb2.ROLLOUT_STATE_GUARD)
    rollout = registry_pb2.Rollout(id=f"rollout-{version}", version=version, from_version=1, by_hand=by_hand)
    rollout.state = states[-1]
    rollout.cause = "operator" if by_hand else EPISODE
    rollout.created_at.CopyFrom(to_proto(NOON))
    for number, state in enumerate(states):
        step = rollout.steps.add(state=state, reason="paired evidence", plan_revision=number + 3)
        step.event_time.CopyFrom(to_proto(DAY + timedelta(hours=number + 1)))
        step.at.CopyFrom(to_proto(NOON + timedelta(seconds=10 + number)))
    return rollout


def facts(
    episodes: tuple[monitor_pb2.Episode, ...] = (),
    rollouts: tuple[registry_pb2.Rollout, ...] = (),
    runs: tuple[trainer_pb2.TrainingRun, ...] = (),
    audit: tuple[registry_pb2.AuditEntry, ...] = (),
) -> Facts:
    picture = Picture(episodes=list(episodes), rollouts=list(rollouts), runs=list(runs))
    wait = trainer_pb2.Decision(cause=EPISODE, action="wait", reason="cooling down")
    wait.at.CopyFrom(to_proto(NOON))
    picture.decisions = [wait]
    return Facts(picture, [], list(audit), [])


def a_ledger(traffic: Traffic) -> Ledger:
    ledger = Ledger.blank(len(traffic.flights))
    ledger.versions[:] = 1
    ledger.versions[20:] = 2
    ledger.variants[:] = "champion"
    ledger.scores[:] = 0.4
    ledger.outcome_sent[:] = traffic.flights.late >= 0
    return ledger


def books(**changes: int) -> Books:
    figures = dict.fromkeys(
        ("sent", "answered", "logged", "archived", "shadows_logged", "shadows_archived", "outcomes_sent"), 40
    )
    figures |= dict.fromkeys(("failed", "lost", "duplicates_removed", "duplicates_archived", "altered"), 0)
    return Books(**(figures | {"outcomes_joined": 40} | changes), spool=Spool(80, 80, 0, 0, 0, 1))


def a_report(full: bool = True, balance: Books | None = None, promotions: bool = True) -> Report:
    traffic = Traffic.of(some_flights(), 1)
    known = facts((an_episode(),), (a_rollout(),) if promotions else (), (a_run(1, "by hand"), a_run()))
    scores = {"live": Score(39, 0.5, 0.7), "frozen": Score(39, 0.6, 0.6), "cron": Score(39, 0.49, float("nan"))}
    months = [Month(month, 40, 39, scores) for month in range(3, 13)]
    return Report(
        seed=1,
        full=full,
        months=months,
        total=Month(0, 400, 390, scores),
        books=balance or books(),
        promotions=findings.promotions(known, a_ledger(traffic), traffic),
        incidents=[findings.Incident("release", "taken back", True, "taken back after 12 answers", {"answers": 12.0})],
        moments=timeline.moments(known.picture),
        stories=stories.tell(known.picture, []),
        steering=[],
        timings_s={"replay": 1.0},
        folder="build/demo",
    )


def test_the_summary_fits_25_lines_and_says_where_cron_is_better() -> None:
    lines = report.lines(a_report())
    assert len(lines) <= report.MAX_LINES
    assert "closed once by itself" in lines[0]
    assert "does NOT beat" in lines[1]
    assert any("version 2 trained on 1,234 flights, live 09 Nov" in line for line in lines)
    assert any(line.startswith("Books: sent 40 = answered 40 = logged 40 = archived 40") for line in lines)
    assert any("episode " + EPISODE in line and "predictions p/0" in line for line in lines)


def a_decision(action: str, reason: str, hours: int = 0) -> trainer_pb2.Decision:
    made = trainer_pb2.Decision(cause=EPISODE, action=action, reason=reason)
    made.watermark.CopyFrom(to_proto(DAY + timedelta(hours=hours)))
    return made


def test_a_decision_not_to_act_is_told_with_what_the_trainer_said_and_nothing_else_is() -> None:
    quality = an_episode(events_pb2.DRIFT_KIND_DATA_QUALITY, ("temp", "dewp", "humid"))
    over = quality.transitions.add(state=events_pb2.EPISODE_STATE_RESOLVED)
    over.watermark.CopyFrom(to_proto(DAY + timedelta(hours=6)))
    for decision, episode, told in (
        (a_decision("ignore", "blocks training"), quality, "no training while temp, dewp and others jumped"),
        (a_decision("ignore", "over; training is allowed again", 6), quality, None),
        (a_decision("wait", "cooling down: 15.2 days"), an_episode(), "no training: cooling down"),
        (a_decision("ignore", "the episode is about version 4, and version 5 answers"), an_episode(), "no more"),
        (a_decision("attach", "run x is under way"), an_episode(), "joined the training under way"),
        (a_decision("wait", "budget: 3 trainings in 30 days"), an_episode(), "no training: budget: 3 trainings"),
        (a_decision("train", "confirmed"), an_episode(), None),
    ):
        picture = Picture(episodes=[episode], decisions=[decision])
        lines = [story.line() for story in stories.tell(picture, [])]
        assert len(lines) == (told is not None)
        assert told is None or told in lines[0]
    assert stories.tell(Picture(episodes=[quality]), []) == []


def test_what_matters_less_is_drawn_together_and_never_left_out() -> None:
    days = [
        stories.Story(DAY + timedelta(days=n), f"data moved: version {n} refused at the gate (x)", 1) for n in range(9)
    ]
    live = stories.Story(DAY, "version 12 live", 0)
    lines = stories.chosen([live, *days], 4)
    assert len(lines) == 4
    assert lines[0].endswith("version 12 live")
    assert "refused by a gate" in lines[-1]
    assert "16 Nov" in lines[-1]


def test_the_json_follows_its_schema() -> None:
    content = report.as_json(a_report())
    jsonschema.validate(content, json.loads(report.SCHEMA.read_text()))
    assert content["latency"] == [{"version": 2, "seconds": 11.0, "flights": content["latency"][0]["flights"]}]
    assert content["arms"]["total"]["cron"]["auc"] is None


def test_the_page_stands_alone() -> None:
    flights = some_flights()
    scores = {arm: np.full(40, 0.4) for arm in report.ARMS}
    page = chart.page(a_report(), chart.draw(flights, scores, a_report(), Incidents.planned(12)))
    assert "<svg" in page
    assert "http://www.w3.org" in page
    assert "<script" not in page
    assert page.index("The loop closed") < page.index("<svg")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (a_report(balance=books(archived=39, lost=1)), "the books do not balance"),
        (a_report(balance=books(altered=1)), "the books do not balance"),
        (a_report(promotions=False), "no promotion was caused by an episode"),
    ],
)
def test_what_is_not_as_it_should_be_makes_the_exit_code(made: Report, reason: str) -> None:
    assert reason in made.shortcomings
    assert reason in report.lines(made)[0]


def test_a_slice_needs_only_its_books() -> None:
    assert a_report(full=False, promotions=False).shortcomings == []


def test_celsius_is_caught_when_both_inputs_are_named_and_the_rows_left_out() -> None:
    incidents = Incidents(DAY, DAY + timedelta(days=14), None)
    quality = an_episode(events_pb2.DRIFT_KIND_DATA_QUALITY, ("temp", "dewp"))
    half = an_episode(events_pb2.DRIFT_KIND_DATA_QUALITY, ("temp",))
    for episode, tainted, caught in (
        (quality, {"run-8": 0}, True),
        (quality, {"run-8": 12}, False),
        (half, {"run-8": 0}, False),
    ):
        found = findings.celsius(facts((episode,)), incidents, tainted)
        assert found is not None
        assert found.caught is caught


def test_rows_of_a_snapshot_are_counted_where_they_lie(tmp_path: Path) -> None:
    times = pa.array([DAY + timedelta(days=day) for day in (-1, 0, 3, 14)], pa.timestamp("us", "UTC"))
    with pa.ipc.new_stream(str(tmp_path / "copy"), pa.schema([("event_time", times.type)])) as stream:
        stream.write_table(pa.table({"event_time": times}))
    assert archive.rows_between(tmp_path / "copy", DAY, DAY + timedelta(days=14)) == 2


def test_a_release_by_hand_is_caught_when_it_was_taken_back() -> None:
    traffic = Traffic.of(some_flights(), 1)
    back = a_rollout(2, registry_pb2.ROLLOUT_STATE_GUARD, registry_pb2.ROLLOUT_STATE_ROLLED_BACK, by_hand=True)
    caught = findings.release(facts(rollouts=(back,)), a_ledger(traffic), 2, DAY)
    assert caught is not None
    assert caught.caught
    assert caught.numbers["answers"] == 20
    stays = findings.release(facts(rollouts=(a_rollout(2, by_hand=True),)), a_ledger(traffic), 2, DAY)
    assert stays is not None
    assert not stays.caught
    assert stays.at == DAY
    never = findings.release(facts(), a_ledger(traffic), None, DAY)
    assert never is not None
    assert not never.caught
    assert findings.release(facts(), a_ledger(traffic), None, None) is None


def test_steering_after_the_first_promotion_is_found() -> None:
    promote = registry_pb2.AuditEntry(number=9, actor=ACTOR, action="Promote", subject="flights:2")
    before = registry_pb2.AuditEntry(number=3, actor=ACTOR, action="Promote", subject="flights:1")
    operator = registry_pb2.AuditEntry(number=10, actor="operator", action="Promote", subject="flights:3")
    first = registry_pb2.AuditEntry(number=2, actor=ACTOR, action="StartTraining", subject="run-1")
    audit = (promote, before, operator, first)
    runs = (a_run(1, "by hand"), a_run(2), a_run(3, "by hand"))
    seen = facts((an_episode(),), runs=runs, audit=audit)
    assert findings.steering(seen, 5, released=3) == ["Promote flights:2", "training run-3"]
    again = registry_pb2.AuditEntry(number=11, actor="operator", action="Promote", subject="flights:3")
    seen = facts((an_episode(),), runs=runs, audit=(*audit, again))
    assert findings.steering(seen, 5, released=3) == ["Promote flights:2", "Promote flights:3", "training run-3"]
    assert "Promote flights:3" in findings.steering(seen, 5)


def test_a_training_that_the_demo_asks_for_is_seen_in_the_audit_log() -> None:
    def asked(number: int, actor: str) -> registry_pb2.AuditEntry:
        return registry_pb2.AuditEntry(number=number, actor=actor, action="StartTraining", subject=f"run-{number}")

    runs = (a_run(1, "by hand"), a_run(2))
    first, itself, again = asked(2, ACTOR), asked(7, "gyrostat-trainer"), asked(8, ACTOR)
    assert findings.steering(facts((an_episode(),), runs=runs, audit=(first, itself)), 5) == []
    found = findings.steering(facts((an_episode(),), runs=runs, audit=(first, itself, again)), 5)
    assert found == ["StartTraining run-8"]
    assert findings.steering(facts((an_episode(),), runs=runs, audit=()), 5) == ["the first training is not in the log"]
