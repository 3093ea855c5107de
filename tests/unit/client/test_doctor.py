from gyrostat_client.doctor import KNOWN_BAD, KnownBad, clock_checks, dead_letter_checks, disk, lag_checks


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


def test_a_consumer_far_behind_is_a_warning():
    checks = {
        check.name: check for check in lag_checks({"monitor": {"prediction.logged": 20_000}, "trainer": {"x": 0}})
    }
    assert checks["lag monitor"].state == "warning"
    assert "20,000" in checks["lag monitor"].found
    assert checks["lag trainer"].state == "ok"


def test_dead_letters_are_a_warning_with_topic_and_count_and_how_to_read_them():
    (check,) = dead_letter_checks({"monitor.dlq": 24, "registry.dlq": 0})
    assert check.state == "warning"
    assert "monitor.dlq holds 24 records" in check.found
    assert "events tail --topic monitor.dlq" in check.next
    (fine,) = dead_letter_checks({"monitor.dlq": 0, "registry.dlq": 0})
    assert (fine.state, fine.found) == ("ok", "none in 2 topics")
