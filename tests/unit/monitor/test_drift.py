"""Window tests: silent on the same world and on trifles, sure of real changes; contract and performance checks too."""

import numpy as np
import pyarrow as pa
import pytest

from gyrostat_common.profile import ReferenceLoss, build_profile
from gyrostat_monitor.domain import contract, drift, performance
from gyrostat_monitor.domain.findings import Kind
from gyrostat_monitor.domain.policy import Policy
from gyrostat_monitor.domain.quality import FIXED, WEIGHT, QualitySums
from gyrostat_monitor.domain.ticks import FUTURE, SCORE, Layout, Tick

R = np.random.default_rng(11)
NUMBERS = [f"x{i}" for i in range(10)]
DAY_US = 86_400_000_000


def world(rows, shift=None, words=(0.5, 0.3, 0.2), r=R):
    shift = shift or {}
    data = {name: r.normal(shift.get(name, 0.0), 1.0, rows).astype(np.float32) for name in NUMBERS}
    return data | {"word": r.choice(["a", "b", "c"], rows, p=words).tolist()}, r.beta(2, 4, rows) + shift.get(
        SCORE, 0.0
    )


DATA, SCORES = world(20_000)
PROFILE = build_profile(
    pa.table({k: pa.array(v) for k, v in DATA.items()}),
    SCORES,
    None,
    np.sort(R.integers(0, 30 * DAY_US, 20_000)),
    {},
    "binary",
)
LAYOUT, POLICY = Layout(PROFILE), Policy()


def window(data, scores) -> Tick:
    vector = np.zeros(LAYOUT.size, np.int64)
    vector[0] = len(scores)
    for f in PROFILE.features:
        at, slots = LAYOUT.places[f.name]
        vector[at : at + slots] = f.bin_counts(data[f.name])
        if f.kind == "numeric":
            z, z2 = f.moments(data[f.name])
            vector[at + slots], vector[at + slots + 1] = z.sum(), z2.sum()
    at, slots = LAYOUT.places[SCORE]
    vector[at : at + slots] = PROFILE.score.bin_counts(scores)
    z = np.rint((scores - PROFILE.score.mean) / PROFILE.score.sd * (1 << 20)).astype(np.int64)
    vector[at + slots] = z.sum()
    return Tick(vector)


def found(*args, **kwargs):
    return drift.findings(drift.statistics(PROFILE, LAYOUT, window(*world(*args, **kwargs)), POLICY), POLICY)


def test_the_same_world_is_calm():
    for seed in range(60):
        data, score = found(1000, r=np.random.default_rng(seed))
        assert data.calm
        assert score.calm
        assert not data.bad


def test_a_trifle_at_large_n_is_not_an_effect():
    data, _ = found(100_000, {"x1": 0.05})
    assert not data.bad


def test_a_real_shift_is_bad_and_names_the_feature():
    data, score = found(1500, {"x3": 0.5})
    assert data.bad
    assert [s.scalar for s in data.evidence] == ["x3"]
    assert data.evidence[0].value == pytest.approx(0.5, abs=0.1)
    assert "x3" in data.summary
    assert not score.bad
    _, moved = found(1500, {SCORE: 0.2})
    assert moved.bad
    assert moved.kind is Kind.PREDICTION


def test_categories_by_cramers_v():
    data, _ = found(1500, words=(0.1, 0.2, 0.7))
    assert [s.statistic for s in data.evidence] == ["cramers_v"]
    assert not found(1500, words=(0.48, 0.31, 0.21))[0].bad


def test_days_that_wander_together_cost_rows():
    r = np.random.default_rng(1)
    day = np.repeat(np.arange(40), 500)
    x = (r.normal(0, 1, 40)[day] + r.normal(0, 1, 20_000)).astype(np.float32)
    profile = build_profile(
        pa.table({"x": x}), np.full(20_000, 0.2), None, day * DAY_US + r.integers(0, DAY_US, 20_000), {}, "binary"
    )
    feature = profile.features[0]
    assert drift.design_effect(feature.sd, feature.between) > 100


def violations(data, rows=1000, future=0):
    tick = window({**world(rows)[0], **data}, world(rows)[1])
    tick.vector[FUTURE] = future
    return [(s.scalar, s.statistic) for s in contract.violations(PROFILE, LAYOUT, tick)]


def test_the_contract_names_what_is_broken_and_nothing_else():
    assert violations({}) == []
    assert violations({"x0": np.full(1000, np.nan)}) == [("x0", "missing_share")]
    assert violations({"x1": np.full(1000, 1e4)}) == [("x1", "out_of_range_share")]
    assert violations({"word": ["new"] * 1000}) == [("word", "unseen_share")]
    assert violations({}, future=100) == [("event time", "future_event_time_share")]
    a_few = np.zeros(1000)
    a_few[:20] = np.nan
    assert violations({"x0": a_few}) == []


def sums(mean, rows, sd=0.5):
    weight = rows * WEIGHT
    return QualitySums(
        rows, rows, weight, {"loss": int(mean * FIXED) * weight, "loss2": int((mean**2 + sd**2) * FIXED) * weight}
    )


def test_performance_is_bad_beyond_interval_floor_and_chance():
    reference = ReferenceLoss(0.50, 0.47, 0.53, 0.5, 0.02, 10_000, 12)
    assert performance.finding(reference, sums(0.62, 5000), 7 * 86_400, POLICY).bad
    assert not performance.finding(reference, sums(0.62, 30), 7 * 86_400, POLICY).bad  # too few outcomes
    assert not performance.finding(reference, sums(0.52, 50_000), 7 * 86_400, POLICY).bad  # inside the interval
    calm = performance.finding(reference, sums(0.50, 5000), 7 * 86_400, POLICY)
    assert calm.calm
    stormy = ReferenceLoss(0.50, 0.35, 0.65, 0.5, 0.30, 10_000, 12)
    assert not performance.finding(stormy, sums(0.62, 5000), 86_400, POLICY).bad  # one day of a stormy world
