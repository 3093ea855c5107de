"""Requests, incidents, arms: pure parts of the demo on a handful of made-up flights."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from flights import arms, incidents
from flights.incidents import Incidents, careless
from flights.replay import Ledger
from flights.traffic import Traffic
from flights.year import CATEGORIES, FEATURES, Flights
from gyrostat_common import oip

HOUR_US = 3_600_000_000
START_US = int(datetime(2013, 11, 8, 22, tzinfo=UTC).timestamp() * 1_000_000)


def some_flights(count: int = 40) -> Flights:
    rng = np.random.default_rng(1)
    features: dict[str, np.ndarray] = {
        name: np.array(rng.choice(["A", "B"], count), dtype=object) for name in CATEGORIES
    }
    features |= {name: rng.normal(50, 10, count).astype(np.float32) for name in FEATURES if name not in CATEGORIES}
    event_us = START_US + np.arange(count) * (HOUR_US // 10)
    late = rng.integers(0, 2, count).astype(np.int8)
    late[3] = -1
    return Flights(
        {name: features[name] for name in FEATURES},
        event_us,
        np.where(late >= 0, event_us + HOUR_US, 0),
        late,
        np.full(count, 11, np.int8),
        np.array(rng.choice(["EWR", "JFK"], count), dtype=object),
    )


def test_every_flight_travels_in_one_request_of_its_airport_and_half_hour() -> None:
    traffic = Traffic.of(some_flights(), seed=1)
    assert traffic.starts[0] == 0
    assert traffic.starts[-1] == 40
    for request in range(traffic.requests):
        rows = slice(traffic.starts[request], traffic.starts[request + 1])
        assert len(set(traffic.flights.origin[rows])) == 1
        assert np.ptp(traffic.flights.event_us[rows]) < HOUR_US / 2
        assert traffic.request_us[request] == traffic.flights.event_us[rows].min()
    assert (np.diff(traffic.request_us // (HOUR_US // 2)) >= 0).all()


def test_a_request_holds_what_the_model_takes() -> None:
    traffic = Traffic.of(some_flights(), seed=1)
    message = traffic.message(0)
    rows = int(traffic.starts[1])
    assert [tensor.name for tensor in message.inputs] == list(FEATURES)
    assert oip.unpack_bytes(message.raw_input_contents[0]) == [
        carrier.encode() for carrier in traffic.flights.features["carrier"][:rows]
    ]
    assert message.parameters["gyrostat_event_time"].int64_param == traffic.request_us[0]


def test_the_same_seed_asks_under_the_same_ids() -> None:
    one, again, other = (Traffic.of(some_flights(), seed) for seed in (1, 1, 2))
    assert one.row_id(7) == again.row_id(7) != other.row_id(7)
    assert len({one.row_id(row) for row in range(40)}) == 40


def test_the_feed_is_in_celsius_for_two_weeks_and_only_there() -> None:
    flights = some_flights()
    wrong = Incidents.planned(12).on_the_feed(flights)
    after = flights.event_us >= int(datetime(2013, 11, 9, tzinfo=UTC).timestamp() * 1e6)
    np.testing.assert_allclose(wrong.features["temp"][after] * 1.8 + 32, flights.features["temp"][after], rtol=1e-5)
    assert (wrong.features["temp"][~after] == flights.features["temp"][~after]).all()
    assert (wrong.features["humid"] == flights.features["humid"]).all()


@pytest.mark.parametrize(("last_month", "expected"), [(9, (False, False)), (10, (False, True)), (12, (True, True))])
def test_incidents_happen_where_the_replay_gets_that_far(last_month: int, expected: tuple[bool, bool]) -> None:
    planned = Incidents.planned(last_month)
    assert (planned.celsius_from is not None, planned.release_at is not None) == expected
    assert Incidents.planned(3, celsius=date(2013, 3, 9)).celsius_to == datetime(2013, 3, 23, tzinfo=UTC)


def test_the_careless_version_has_the_same_inputs_but_learns_nothing_from_four() -> None:
    blind = careless(some_flights())
    assert tuple(blind.features) == FEATURES
    for name in incidents.IGNORED_INPUTS:
        assert len(set(blind.features[name].tolist())) == 1


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    late, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.9])
    assert arms.auc(late, scores) == pytest.approx(3.5 / 4)
    assert np.isnan(arms.auc(np.ones(3), np.arange(3.0)))


def test_an_arm_is_measured_on_what_has_an_outcome_and_an_answer() -> None:
    late, scores = np.array([1, 0, -1, 1]), np.array([0.5, 0.5, 0.9, np.nan])
    score = arms.measure(late, scores, np.ones(4, bool))
    assert score.rows == 2
    assert score.log_loss == pytest.approx(np.log(2))


def test_what_had_landed_by_a_time_is_all_that_may_be_learned_from() -> None:
    flights = some_flights()
    at = datetime.fromtimestamp((START_US + 2 * HOUR_US) / 1e6, UTC)
    known = arms.landed_by(flights, flights, at)
    assert (known.outcome_us <= START_US + 2 * HOUR_US).all()
    assert (known.late >= 0).all()


def test_a_blank_ledger_has_no_answers() -> None:
    ledger = Ledger.blank(5)
    assert (ledger.answered, ledger.outcomes, ledger.asked) == (0, 0, 0)


def test_the_schema_of_the_report_lies_beside_the_code() -> None:
    from flights.report import SCHEMA

    assert Path(SCHEMA).exists()
