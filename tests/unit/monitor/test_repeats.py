"""Rows of a frame that repeat are left out of it, columns and all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_monitor.domain.repeats import Heard, first_only, repeats
from gyrostat_monitor.events import decoding
from support.frames import a_frame, prediction_id

T0 = 1_362_096_000_000_000


def frame(no, numbers, at=T0, **more):
    inputs = {"x": [float(i) for i in numbers], "place": [None if i == 1 else f"p{i}" for i in numbers]}
    times = [at + i for i in range(len(numbers))]
    made = a_frame(no, [prediction_id(i) for i in numbers], times, [i / 10 for i in numbers], inputs, **more)
    return decoding.frame(made)


def test_the_rest_of_a_frame_stays_whole():
    traces = [pb.RowTrace(row=0, traceparent="a"), pb.RowTrace(row=2, traceparent="c")]
    first = frame(1, [1])
    second = frame(2, [0, 1, 2], at=T0 + 10, request_ids=["q0", "q1", "q2"], entities=["e0", "", "e2"], traces=traces)
    kept, rest = first_only([first, second], Heard(()))
    assert kept is first
    assert rest.ids == (prediction_id(0).bytes, prediction_id(2).bytes)
    assert rest.rows == len(rest.row_numbers) == len(rest.latency_us) == len(rest.future) == 2
    assert rest.event_us.tolist() == [T0 + 10, T0 + 12]
    assert (rest.request_ids, rest.entities, dict(rest.traces)) == (("q0", "q2"), ("e0", "e2"), {0: "a", 1: "c"})
    x, place = (column.scalars() for column in rest.inputs)
    assert x.tolist() == [0.0, 2.0]
    assert place == ["p0", "p2"]
    probabilities = rest.outputs[1].matrix()
    assert np.allclose(probabilities, [[1.0, 0.0], [0.8, 0.2]])


def test_the_earlier_arrival_counts_whatever_the_order_of_the_frames():
    late, early = frame(1, [0], at=T0 + 5), frame(2, [0], at=T0)
    assert [f.rows for f in first_only([late, early], Heard(()))] == [0, 1]


def test_what_was_heard_before_is_remembered_by_the_prediction():
    key = (prediction_id(0).bytes, 0)
    assert not Heard([(key, 1, 0)]).is_news(key, 2, "answer")
    assert Heard([(key, 1, 1)]).is_news(key, 1, "answer")
    assert Heard([(key, 1, 0)]).is_news(key, 2, "shadow")
    assert not Heard([(key, 2, 1)]).is_news(key, 2, "shadow")
    assert Heard([(key, 1, 2)]).is_news(key, 1, "answer")


def test_archived_rows_are_told_apart_by_when_they_arrived():
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def row(minutes, role="answer", variant="champion", version=1):
        when = at + timedelta(minutes=minutes)
        return {"arrival_time": when, "stream": "s", "frame_no": 1, "role": role, "variant": variant,
                "version": version, "prediction_id": "p/0"}  # fmt: skip

    rows = [row(3), row(1), row(0, variant="pinned"), row(1, "shadow", "shadow", 2), row(3, "shadow", "shadow", 2)]
    assert repeats(rows) == [True, False, False, False, True]
