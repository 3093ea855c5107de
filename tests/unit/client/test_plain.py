import json
import math
from datetime import UTC, datetime

from gyrostat.events.v1 import events_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_client.cli.output import number, percent, size, text, utc
from gyrostat_client.plain import to_plain, word
from gyrostat_common.times import to_proto

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)


def test_whole_numbers_stay_numbers_times_are_utc_and_enums_are_words():
    rollout = registry_pb2.Rollout(
        id="r", version=4, state=registry_pb2.ROLLOUT_STATE_ROLLED_BACK, created_at=to_proto(NOON), approvals=["ada"]
    )
    plain = to_plain(rollout)
    assert (plain["version"], plain["state"], plain["created_at"]) == (4, "rolled_back", "2013-07-04T12:00:00Z")
    assert plain["approvals"] == ["ada"]
    assert plain["held"] is False


def test_absent_messages_are_left_out_and_unspecified_enums_are_empty():
    plain = to_plain(events_pb2.ServingPlan(model="fraud"))
    assert "canary" not in plain
    assert plain["phase"] == ""


def test_maps_of_enums_and_of_messages():
    spec = model_pb2.ModelSpec(sensitivity={"email": model_pb2.SENSITIVITY_HASH}, labels={"b": "2", "a": "1"})
    plain = to_plain(spec)
    assert plain["sensitivity"] == {"email": "hash"}
    assert list(plain["labels"]) == ["a", "b"]


def test_everything_is_json_even_nan_and_bytes():
    json.dumps(to_plain([math.nan, b"\x00\xff", NOON, {1: math.inf}]), allow_nan=False)


def test_the_word_of_an_enum_field():
    assert word(model_pb2.ModelVersion(stage=model_pb2.STAGE_CHAMPION), "stage") == "champion"
    assert word(events_pb2.DriftDetected(kind=events_pb2.DRIFT_KIND_DATA_QUALITY), "kind") == "data_quality"


def test_cells_are_short_and_times_in_utc():
    assert [number(value) for value in (0.30000001, 1234567.8, 0.00001, float("nan"), 0.0)] == [
        "0.3",
        "1,234,568",
        "1.00e-05",
        "–",
        "0",
    ]
    assert utc(NOON) == "2013-07-04 12:00:00Z"
    assert utc(None) == ""
    assert percent(500) == "5 %"
    assert [size(5), size(1_500_000)] == ["5 B", "1.5 MB"]
    assert [text(12345), text(True), text(None)] == ["12,345", "yes", ""]
