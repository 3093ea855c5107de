"""Errors, clocks, ids, times, log lines."""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_common import telemetry, times
from gyrostat_common.clock import FixedClock, SystemClock
from gyrostat_common.errors import GyrostatError, InvalidInput, NotFound, WrongState, kind_of, reason_of
from gyrostat_common.ids import CountingIds, RandomIds, uuid7
from gyrostat_common.settings import LogSettings
from gyrostat_common.telemetry import log as log_module
from support.events import NOON


class VersionArchived(WrongState): ...


class StillArchived(VersionArchived): ...


def test_the_kind_is_the_nearest_of_the_six() -> None:
    assert kind_of(StillArchived("x")) is WrongState
    assert kind_of(NotFound("x")) is NotFound
    assert kind_of(GyrostatError("x")) is None
    assert kind_of(ValueError("x")) is None


def test_the_reason_is_the_name_of_the_class() -> None:
    assert StillArchived("x").reason == "STILL_ARCHIVED"
    assert reason_of(InvalidInput) == "INVALID_INPUT"


def test_uuid7_sorts_by_time_and_is_one() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    milliseconds = [one.int >> 80 for one in ids]
    assert milliseconds == sorted(milliseconds)
    assert abs(milliseconds[0] / 1000 - datetime.now(UTC).timestamp()) < 60


def test_ids_are_passed_in() -> None:
    counting = CountingIds("run")
    assert [counting.new(), counting.new()] == ["run-1", "run-2"]
    assert uuid.UUID(RandomIds().new()).version == 7


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(NOON)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)
    with pytest.raises(ValueError, match="aware"):
        FixedClock(datetime(2013, 1, 1))
    assert SystemClock().now().tzinfo is UTC


AWARE = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))]))


@given(AWARE)
def test_a_time_survives_every_shape(at: datetime) -> None:
    assert times.from_us(times.to_us(at)) == at
    assert times.parse_rfc3339(times.to_rfc3339(at)) == at
    if at != datetime(1970, 1, 1, tzinfo=UTC):
        assert times.from_proto(times.to_proto(at)) == at


def test_an_absent_time_stays_absent() -> None:
    assert times.to_proto(None) is None
    assert times.from_proto(None) is None


@pytest.mark.parametrize("text", ["2013-03-01T12:00:00", "yesterday", ""])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        times.parse_rfc3339(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_no_datetime_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="between the years"):
        times.parse_rfc3339(text)
    with pytest.raises(InvalidInput, match="between the years"):
        times.from_proto(Timestamp(seconds=2**62 if text[0] == "9" else -(2**62)))


def test_a_log_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    log_module.configure(LogSettings(), "gyrostat-registry")
    log = telemetry.get_logger("test")
    tensor = "canary-4711"
    with telemetry.span("call", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"):
        log.info("model_promoted", model="flights", version=3)
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("failed")
    promoted, failed = map(json.loads, capsys.readouterr().out.splitlines())
    assert promoted.pop("timestamp")
    assert promoted == {
        "event": "model_promoted",
        "level": "info",
        "logger_name": "test",
        "service": "gyrostat-registry",
        "model": "flights",
        "version": 3,
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }
    assert failed["exception"][0]["exc_type"] == "KeyError"
    assert tensor not in json.dumps(failed)  # values of local variables stay inside


def test_a_reader_of_the_log_that_went_away_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    log_module.configure(LogSettings())
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr("sys.stdout", gone)
    telemetry.get_logger("test").error("lost")


def test_debug_lines_are_off_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    log_module.configure(LogSettings())
    telemetry.get_logger("test").debug("quiet")
    assert capsys.readouterr().out == ""


def test_a_metric_asked_for_twice_is_one() -> None:
    one = telemetry.counter("gyrostat_test_twice", "x", ("a",))
    assert telemetry.counter("gyrostat_test_twice", "x", ("a",)) is one
    with pytest.raises(ValueError, match="exists already"):
        telemetry.gauge("gyrostat_test_twice", "x", ("a",))
