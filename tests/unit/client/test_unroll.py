import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.events.v1 import events_pb2
from gyrostat_client.unroll import BadFrame, rows
from gyrostat_common import oip
from support.closed_loop import prediction_frame
from support.fakes import NOON, PREDICTION


def test_a_frame_becomes_a_row_per_prediction_with_names():
    first, second, third = rows(prediction_frame())
    assert [row.id for row in (first, second, third)] == [f"{PREDICTION}/{number}" for number in range(3)]
    assert (first.model, first.version, first.role, first.variant) == ("fraud", 4, "answer", "champion")
    assert first.inputs == {"amount": 0.0, "country": "CH", "email": "0123456789abcdef", "secret": None}
    assert first.outputs == {"probabilities": [0.25, 0.75]}
    assert third.inputs["country"] == "DE"
    assert (first.event_time, first.latency_us, first.entity) == (NOON, 1500, "card-0")
    assert first.environment == "production"


def test_absent_values_are_none():
    assert [row.inputs["amount"] for row in rows(prediction_frame())] == [0.0, None, 2.0]


def test_absent_values_may_take_no_room():
    frame = prediction_frame()
    frame.inputs[0].values = np.array([7, 9], "<f4").tobytes()
    assert [row.inputs["amount"] for row in rows(frame)] == [7.0, None, 9.0]


def test_what_was_done_to_values_is_told():
    assert next(iter(rows(prediction_frame()))).sensitivity == {"email": "hash", "secret": "drop"}


def test_only_the_sampled_row_has_a_trace_and_only_the_marked_row_a_future_time():
    found = list(rows(prediction_frame()))
    assert [bool(row.traceparent) for row in found] == [False, True, False]
    assert [row.future_event_time for row in found] == [False, True, False]


def test_bytes_that_are_no_text_stay_bytes():
    frame = prediction_frame()
    frame.inputs[1].values = oip.pack_bytes([b"\xff\xfe", b"a", b""])
    assert [row.inputs["country"] for row in rows(frame)] == [b"\xff\xfe", "a", ""]


@pytest.mark.parametrize(
    ("field", "value"), [("prediction_ids", b"short"), ("event_times_us", b"1234567"), ("latencies_us", b"12345")]
)
def test_a_frame_that_does_not_fit_its_row_count_is_refused(field, value):
    frame = prediction_frame()
    setattr(frame, field, value)
    with pytest.raises(BadFrame, match=field):
        list(rows(frame))


def test_a_column_with_too_few_values_is_refused_by_name():
    frame = prediction_frame()
    frame.outputs[0].values = frame.outputs[0].values[:8]
    with pytest.raises(BadFrame, match="probabilities: 2 values for 3 rows of 2"):
        list(rows(frame))


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=30))
def test_text_comes_back_as_it_was(values):
    validity = bytearray((len(values) + 7) // 8)
    for row, value in enumerate(values):
        validity[row >> 3] |= (value is not None) << (row & 7)
    frame = events_pb2.PredictionLogged(
        rows=len(values),
        prediction_ids=bytes(16 * len(values)),
        inputs=[
            events_pb2.Column(
                name="text",
                datatype="BYTES",
                values=oip.pack_bytes([value or "" for value in values]),
                validity=bytes(validity),
            )
        ],
    )
    assert [row.inputs["text"] for row in rows(frame)] == values


@pytest.mark.parametrize("datatype", [name for name in oip.NUMPY if name not in ("BYTES", "BF16")])
def test_every_datatype_comes_back(datatype):
    values = np.array([0, 1, 1], oip.NUMPY[datatype])
    frame = prediction_frame()
    frame.inputs[1].datatype, frame.inputs[1].values = datatype, values.tobytes()
    assert [row.inputs["country"] for row in rows(frame)] == values.tolist()
