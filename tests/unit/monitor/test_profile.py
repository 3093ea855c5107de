"""The reference profile: frozen bins that add up, JSON that comes back the same, nothing that depends on the order of
rows.
"""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_common.profile import Category, Numeric, Profile, ProfileInvalid, build_profile, losses, row_loss

DAY_US = 86_400_000_000


def a_profile(rows: int = 3000, seed: int = 1) -> Profile:
    r = np.random.default_rng(seed)
    temp = r.normal(50, 10, rows).astype(np.float32)
    temp[:30] = np.nan
    carrier = r.choice(["UA", "AA", "DL"], rows, p=[0.5, 0.3, 0.2])
    p = 1 / (1 + np.exp(-(temp - 50) / 10))
    p = np.where(np.isnan(p), 0.3, p)
    y = (r.random(rows) < p).astype(float)
    table = pa.table({"temp": temp, "carrier": pa.array(carrier.tolist())})
    times = np.sort(r.integers(0, 30 * DAY_US, rows))
    return build_profile(table, p, y, times, {"temp": 0.2}, "binary")


def test_json_comes_back_the_same_and_names_itself():
    profile = a_profile()
    again = Profile.from_json(profile.to_json().encode())
    assert again == profile
    assert again.sha256 == profile.sha256
    assert len(profile.sha256) == 64


def test_reference_counts_hold_every_row():
    profile = a_profile()
    temp, carrier = profile.feature("temp"), profile.feature("carrier")
    assert isinstance(temp, Numeric)
    assert isinstance(carrier, Category)
    assert temp.n == carrier.n == 3000
    assert temp.missing_share == pytest.approx(0.01)
    assert len(temp.edges) == 63
    assert carrier.top == ("UA", "AA", "DL")
    assert temp.importance == 0.2
    assert sum(profile.score.counts) == 3000
    assert len(profile.score.calibrated) == len(profile.score.edges) + 1
    assert profile.loss is not None
    assert profile.loss.lower < profile.loss.mean < profile.loss.upper
    assert 0.6 < profile.metrics["auc"] < 1.0


def test_slots_say_missing_unseen_other_and_out_of_range():
    temp = a_profile().feature("temp")
    assert isinstance(temp, Numeric)
    assert temp.bins([None, float("nan"), 1e6, -1e6]).tolist() == [temp.values + 2] * 2 + [temp.values + 1, temp.values]
    carrier = Category("c", ("a",), ("b",), (1, 1, 0, 0))
    assert carrier.bins(["a", "b", "z", None]).tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=True, width=32) | st.none(), min_size=1, max_size=60), st.integers(0, 60))
def test_counts_and_moments_add_up_wherever_a_column_is_cut(column, cut):
    temp = a_profile(rows=400).feature("temp")
    assert isinstance(temp, Numeric)
    whole, parts = temp.bin_counts(column), [c for c in (column[:cut], column[cut:]) if c]
    assert whole.tolist() == sum(temp.bin_counts(p) for p in parts).tolist()
    z, z2 = temp.moments(column)
    assert z.sum() == sum(temp.moments(p)[0].sum() for p in parts)
    assert z2.sum() == sum(temp.moments(p)[1].sum() for p in parts)


def test_losses_by_task():
    assert losses("binary", np.array([0.5, 1.0]), np.array([1, 0])).tolist() == pytest.approx(
        [0.6931, 13.8155], abs=1e-3
    )
    assert losses("regression", np.array([1.0, 2.0]), np.array([3, 2])).tolist() == [2.0, 0.0]
    assert losses("multiclass", np.array([[0.2, 0.8]]), np.array([1])).tolist() == pytest.approx([0.2231], abs=1e-3)


def test_the_loss_of_one_row_is_the_same():
    for task, score, label in (("binary", 0.3, 1.0), ("binary", 1.0, 0.0), ("regression", 2.0, 5.0)):
        assert row_loss(task, score, None, label) == pytest.approx(
            losses(task, np.array([score]), np.array([label]))[0]
        )
    rows = np.array([[0.2, 0.5, 0.3]])
    assert row_loss("multiclass", 0.5, (0.2, 0.5, 0.3), 2.0) == pytest.approx(
        losses("multiclass", rows, np.array([2]))[0]
    )


def test_bytes_that_are_no_profile_are_refused():
    for text in (b"", b"{}", b"[]", b'{"format":99}'):
        with pytest.raises(ProfileInvalid):
            Profile.from_json(text)


def test_bucketed_values_stay_inside_their_bin():
    temp = a_profile().feature("temp")
    assert isinstance(temp, Numeric)
    values = np.array([30.0, 50.0, 61.5, np.nan])
    assert temp.bins(temp.middle(values)).tolist() == temp.bins(values).tolist()
