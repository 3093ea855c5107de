from datetime import UTC, datetime, timedelta

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat_client.backlog import Backlog, Illegible
from gyrostat_client.doctor import (
    KNOWN_BAD,
    KnownBad,
    alert_checks,
    book_checks,
    clock_checks,
    dead_letter_checks,
    disk,
    health_check,
    lag_checks,
    state_checks,
)
from gyrostat_common.health import Report

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_known_bad_version_is_hit_and_its_neighbours_are_not():
    bad = KnownBad("protobuf", ">=7", "why")
    assert bad.hits("7.35.1")
    assert not bad.hits("6.33.6")
    below = KnownBad("aiokafka", "<0.14", "why")
    assert below.hits("0.13.9")
    assert not below.hits("0.14.0")


def test_every_known_bad_version_says_why():
    assert all(bad.reason for bad in KNOWN_BAD)


def test_a_clock_ahead_is_a_failure_and_a_silent_replica_a_warning():
    checks = {
        check.found.split()[0]: check.state for check in clock_checks({"ahead": -5.0, "silent": 90.0, "fine": 3.0})
    }
    assert checks == {"ahead": "failed", "silent": "warning", "fine": "ok"}


def test_the_disk_of_a_folder_that_is_not_there_yet_is_its_parents(tmp_path):
    assert str(tmp_path) in disk(tmp_path / "not" / "yet").found


def waits(group, records=0, age_s=0.0, *, moved=True):
    since = NOON - timedelta(seconds=age_s) if records else None
    return Backlog(group, "prediction.logged", 2, 40, records, since, moved)


def test_a_consumer_that_is_behind_is_a_warning_and_one_that_stands_still_a_failure():
    found = [
        *(waits("registry"), waits("monitor", 20_000, 30), waits("trainer", 3, 61), waits("monitor.archive", 5, 12)),
        waits("deaf", 7, 150, moved=False),
    ]
    checks = {check.name: check for check in lag_checks(found, NOON)}
    states = {name.removeprefix("lag "): check.state for name, check in checks.items()}
    assert states == {
        "registry": "ok", "monitor": "warning", "trainer": "warning", "monitor.archive": "ok", "deaf": "failed",
    }  # fmt: skip
    assert "20,000 records" in checks["lag monitor"].found
    said = checks["lag deaf"].found
    assert (
        "stands still: 7 records of prediction.logged/2 wait at offset 40, the oldest since 11:57:30Z (150 s)" in said
    )
    assert "a restart goes on at offset 40" in checks["lag deaf"].next


def test_state_that_nobody_can_read_is_a_failure_with_place_key_and_repair():
    (check,) = state_checks([Illegible("serving.plan/0 offset 7", "production/fraud", "header ce_id is missing")])
    assert check.state == "failed"
    assert "serving.plan/0 offset 7, key production/fraud: header ce_id is missing" in check.found
    assert "gyrostat topics repair serving.plan" in check.next
    assert [check.state for check in state_checks([])] == ["ok"]


def test_what_a_service_says_of_itself_is_what_is_shown():
    alarmed = Report(None, {"consumer": "100 records became dead letters"})
    check = health_check("registry", "here:1", alarmed)
    assert (check.state, check.found) == (
        "failed", "alarmed at here:1: ready; problems: consumer: 100 records became dead letters",
    )  # fmt: skip
    assert health_check("registry", "here:1", Report("it is starting")).state == "failed"
    assert health_check("registry", "here:1", Report()).state == "ok"


def test_alerts_that_fire_and_rows_that_were_lost_are_shown():
    firing = [
        monitor_pb2.FiringAlert(alert_id="a", summary="no prediction of fraud", severity="warning", owner="ann"),
        monitor_pb2.FiringAlert(alert_id="b", summary="registry has not moved", severity="critical"),
    ]
    assert [check.state for check in alert_checks(firing)] == ["warning", "failed"]
    assert [check.state for check in alert_checks([])] == ["ok"]
    books = [events_pb2.SpoolBooks(dropped={"refused": 2000}), events_pb2.SpoolBooks(dropped={"refused": 1})]
    (lost,) = book_checks([events_pb2.PlanApplied(replica="r1", books=books)])
    assert (lost.state, lost.found) == ("warning", "r1: 2,001 answered rows never reached the log: refused")
    assert [check.state for check in book_checks([events_pb2.PlanApplied(replica="r1")])] == ["ok"]


def test_dead_letters_are_a_warning_with_topic_and_count_and_how_to_read_them():
    (check,) = dead_letter_checks({"monitor.dlq": 24, "registry.dlq": 0})
    assert check.state == "warning"
    assert "monitor.dlq holds 24 records" in check.found
    assert "events tail --topic monitor.dlq" in check.next
    (fine,) = dead_letter_checks({"monitor.dlq": 0, "registry.dlq": 0})
    assert (fine.state, fine.found) == ("ok", "none in 2 topics")
