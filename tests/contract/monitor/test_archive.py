"""The archive holds each row exactly once, whatever is sent again, whoever else writes, however often we restart: on a
folder and on S3.
"""

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_monitor.domain.frames import parse_row_id
from gyrostat_monitor.domain.outcomes import Ref
from gyrostat_monitor.events import decoding
from gyrostat_monitor.store.archive import Archive
from support.frames import a_frame, an_outcome, prediction_id
from support.monitor import DAY_US, received

T0 = 1_362_096_000_000_000


def frame(no, n=5, stream="s/flights/0", **more):
    base = no * 1000 + int(stream[-1]) * 100_000
    ids = [prediction_id(base + i) for i in range(n)]
    inputs = {"temp": np.arange(n, dtype=np.float32), "carrier": ["UA", "AA", None, "DL", "ü"][:n]}
    times = [T0 + i * DAY_US // 3 for i in range(n)]
    return decoding.frame(a_frame(no, ids, times, [0.5] * n, inputs, stream=stream, **more))


def rows(archive, kind="predictions"):
    return DeltaTable(archive.table_uri(kind, "flights")).to_pyarrow_table().to_pylist()


@pytest.fixture(params=["folder", "s3"])
def archive(request, tmp_path):
    if request.param == "folder":
        return Archive(f"file://{tmp_path}/archive")
    return Archive(request.getfixturevalue("bucket").uri("archive"))


async def test_a_resend_at_a_new_offset_and_a_restart_change_nothing(archive):
    frames = [frame(1), frame(2), frame(1, stream="s/flights/1")]
    assert (await archive.add_frames("flights", frames)).rows == 15
    again = await archive.add_frames("flights", [*frames, frame(3)])
    assert (again.rows, again.skipped) == (5, 3)
    restarted = Archive(archive.uri)
    assert (await restarted.add_frames("flights", [*frames, frame(3)])).rows == 0
    assert (await restarted.add_frames("flights", [frame(4), frame(4)])).rows == 5
    found = rows(archive)
    assert len(found) == 25
    assert len({r["prediction_id"] for r in found}) == 25


async def test_columns_are_typed_and_times_are_utc(archive):
    traces = [pb.RowTrace(row=1, traceparent="00-a-b-01")]
    await archive.add_frames("flights", [frame(1, traces=traces, rollout_id="ro")])
    first, second, third, *_ = sorted(rows(archive), key=lambda r: r["event_time"])
    assert first["in_temp"] == 0.0
    assert first["out_probabilities"] == [0.5, 0.5]
    assert first["role"] == "answer"
    assert first["rollout_id"] == "ro"
    assert third["in_carrier"] is None
    assert second["traceparent"] == "00-a-b-01"
    assert first["event_date"] == first["event_time"].date()
    assert str(first["event_time"].tzinfo) == "UTC"
    schema = DeltaTable(archive.table_uri("predictions", "flights")).schema().to_arrow()
    assert str(pa.schema(schema).field("event_time").type) == "timestamp[us, tz=UTC]"


async def test_a_later_version_with_other_inputs_joins_the_same_table(archive):
    await archive.add_frames("flights", [frame(1)])
    ids = [prediction_id(i) for i in range(2)]
    other = a_frame(2, ids, [T0, T0], [0.1, 0.2], {"temp": ["warm", "cold"], "new": np.array([1, 2])}, version=2)
    await archive.add_frames("flights", [decoding.frame(other)])
    found = {r["prediction_id"]: r for r in rows(archive)}
    assert found[f"{ids[1]}/0"]["in_new"] == 2
    assert found[f"{ids[1]}/0"]["in_temp__bytes"] == "cold"
    assert found[f"{ids[1]}/0"]["in_temp"] is None


async def test_another_writer_makes_us_read_again(archive):
    await archive.add_frames("flights", [frame(1)])
    uri = archive.table_uri("predictions", "flights")
    other = DeltaTable(uri).to_pyarrow_table().slice(0, 1)
    write_deltalake(uri, other, mode="append")
    assert (await archive.add_frames("flights", [frame(1), frame(2)])).rows == 5
    assert len(rows(archive)) == 11


async def test_outcomes_once_by_offset_and_resolved_names_once_by_number(archive):
    def outcome(offset, ref=None):
        message = an_outcome(ref or prediction_id(offset), 1, T0)
        return decoding.outcome(received(message, f"e{offset}", offset))

    by_request = pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id="r"))
    batch = [outcome(0), outcome(1, by_request)]
    assert (await archive.add_outcomes("flights", batch)).rows == 2
    assert (await archive.add_outcomes("flights", [*batch, outcome(2)])).rows == 1
    key = parse_row_id(str(prediction_id(9)))
    resolved = [(1, decoding.outcome(received(an_outcome(prediction_id(9), 1, T0), "e1", 1)))]
    assert resolved[0][1].ref == Ref(prediction=key)
    assert (await archive.add_resolved("flights", resolved)).rows == 1
    assert (await archive.add_resolved("flights", resolved)).rows == 0
    assert await archive.last("outcomes", "flights", "resolved") == 1
    found = sorted(rows(archive, "outcomes"), key=lambda r: (r["event_id"], r["prediction_id"] or ""))
    assert [r["prediction_id"] for r in found] == [
        f"{prediction_id(0)}/0", None, f"{prediction_id(9)}/0", f"{prediction_id(2)}/0"
    ]  # fmt: skip
    assert found[1]["ref"] == "request:r/0"


async def test_a_prediction_is_found_again(archive):
    await archive.add_frames("flights", [frame(1), frame(2)])
    name = f"{prediction_id(2003)}/0"
    name = next(r["prediction_id"] for r in rows(archive) if r["frame_no"] == 2)
    (found,) = await archive.rows("predictions", "flights", name, T0)
    assert found["frame_no"] == 2
    assert found["delta_version"] == 1
    await archive.add_frames("flights", [frame(3)])
    later = next(r["prediction_id"] for r in rows(archive) if r["frame_no"] == 3)
    (found,) = await archive.rows("predictions", "flights", later)
    assert found["delta_version"] == 2
    assert found["in_temp"] in (0.0, 1.0, 2.0, 3.0, 4.0)
    assert str(found["event_date"]) >= "2013-03-01"
    assert await archive.rows("predictions", "nothing", name) == []
    assert await archive.models("predictions") == ["flights"]
