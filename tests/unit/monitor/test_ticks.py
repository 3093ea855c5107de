"""Ticks add up exactly, however the rows are cut into frames."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common.profile import build_profile
from gyrostat_monitor.domain.frames import scores_of
from gyrostat_monitor.domain.ticks import SCORE, Layout, count, decode, encode, total
from gyrostat_monitor.events import decoding
from support.frames import a_frame, prediction_id

HOUR = 3_600_000_000
R = np.random.default_rng(3)
N = 60
TEMP, WORD, SCORES = R.normal(50, 10, N), R.choice(["a", "b"], N).tolist(), R.random(N)
EVENTS = (R.integers(0, 5 * HOUR, N)).tolist()
PROFILE = build_profile(
    pa.table({"temp": TEMP.astype(np.float32), "word": pa.array(WORD)}), SCORES, None, np.array(EVENTS), {}, "binary"
)
LAYOUT = Layout(PROFILE)


def frames_of(order, cuts):
    edges = [0, *sorted({c for c in cuts if 0 < c < N}), N]
    for no, (a, b) in enumerate(pairwise(edges), 1):
        rows = [order[i] for i in range(a, b)]
        inputs = {"temp": np.array([TEMP[i] for i in rows], np.float32), "word": [WORD[i] for i in rows]}
        ids, scores = [prediction_id(i) for i in rows], [SCORES[i] for i in rows]
        yield decoding.frame(a_frame(no, ids, [EVENTS[i] for i in rows], scores, inputs))


def counted(frames):
    ticks = {}
    for frame in frames:
        scores = scores_of(frame, "binary", "probabilities")
        for at, tick in count(LAYOUT, [frame], scores, HOUR).items():
            ticks[at] = ticks[at].plus(tick) if at in ticks else tick
    return {at: (tick.vector.tolist(), tick.exemplars) for at, tick in ticks.items()}


WHOLE = counted(frames_of(range(N), []))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(N)), st.lists(st.integers(1, N - 1), max_size=8))
def test_any_order_and_any_frames_give_the_same_ticks(order, cuts):
    assert counted(frames_of(order, cuts)) == WHOLE


def test_moments_come_back_in_the_features_units():
    frames = list(frames_of(range(N), []))
    tick = total(LAYOUT, count(LAYOUT, frames, SCORES, HOUR).values())
    moments = LAYOUT.moments(tick.vector, "temp")
    assert moments.rows == N
    assert abs(moments.mean - TEMP.mean()) < 1e-3
    assert abs(moments.sd - TEMP.std()) < 1e-2
    assert abs(LAYOUT.moments(tick.vector, SCORE).mean - SCORES.mean()) < 1e-4
    assert tick.rows == N
    assert len(tick.exemplars) == 4
    assert decode(encode(tick.vector)).tolist() == tick.vector.tolist()


def test_a_hashed_or_dropped_input_is_not_binned():
    frame = decoding.frame(a_frame(1, [prediction_id(1)], [0], [0.5], {"temp": ["9f2a"]}))
    (tick,) = count(LAYOUT, [frame], np.array([0.5]), HOUR).values()
    assert LAYOUT.counts(tick.vector, "temp").sum() == 0
    assert tick.rows == 1


def test_frames_whose_columns_do_not_fit_are_refused():
    import pytest

    from gyrostat_monitor.domain.errors import FrameInvalid

    good = a_frame(1, [prediction_id(1)], [0], [0.5], {"temp": np.array([1.0], np.float32)})
    for change in (
        {"prediction_ids": b"short"}, {"event_times_us": b""}, {"stream": ""}, {"request_ids": ["a", "b"]},
    ):  # fmt: skip
        bad = pb.PredictionLogged()
        bad.CopyFrom(good)
        for name in change:
            bad.ClearField(name)
        bad.MergeFrom(pb.PredictionLogged(**change))
        with pytest.raises(FrameInvalid):
            decoding.frame(bad)
    good.inputs[0].values = b"123"
    with pytest.raises(FrameInvalid, match="temp"):
        decoding.frame(good)
