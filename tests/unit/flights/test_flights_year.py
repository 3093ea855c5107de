"""The year of flights: what may be known when, and when an outcome is."""

from datetime import UTC, datetime

import numpy as np
import pytest

from flights.year import FEATURES, FORBIDDEN, NUMBERS, Flights, load


@pytest.fixture(scope="module")
def year() -> Flights:
    return load()


def test_no_feature_is_known_only_after_the_scheduled_departure() -> None:
    assert not set(FEATURES) & set(FORBIDDEN)
    assert {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} <= set(FORBIDDEN)


def test_the_model_is_given_exactly_the_declared_features(year: Flights) -> None:
    assert tuple(year.features) == FEATURES
    assert set(year.table().column_names) == {*FEATURES, "label", "event_time"}


def test_no_feature_is_a_copy_of_something_forbidden(year: Flights) -> None:
    late = year.labelled()
    for name in NUMBERS:
        values = late.features[name]
        known = np.isfinite(values)
        assert abs(np.corrcoef(values[known], late.late[known])[0, 1]) < 0.4, name


def test_it_is_the_whole_year_in_order(year: Flights) -> None:
    assert len(year) == 336_776
    assert (np.diff(year.event_us) >= 0).all()
    assert 0.97 < (year.late >= 0).mean() < 0.975


def test_times_are_new_yorks_in_winter_and_in_summer(year: Flights) -> None:
    first = datetime.fromtimestamp(year.event_us[0] / 1e6, UTC)
    assert (first.month, first.day, first.hour, first.minute) == (1, 1, 10, 15)  # 5:15 in New York
    july = year.months(7, 7)
    hours = (july.event_us // 3_600_000_000) % 24
    local = july.features["sched_minute"] // 60
    assert (((hours - local) % 24) == 4).all()


def test_an_outcome_comes_after_the_question_and_never_for_a_cancelled_flight(year: Flights) -> None:
    landed = year.late >= 0
    assert (year.outcome_us[landed] > year.event_us[landed]).mean() > 0.9999
    assert (year.outcome_us[~landed] == 0).all()


def test_outcome_time_is_departure_plus_delay_plus_air_time(year: Flights) -> None:
    # The year's first flight: UA 1545, 5:15, two minutes late, 227 minutes in the air, 11 minutes late.
    first = int(np.flatnonzero(year.features["dest"] == "IAH")[0])
    assert year.outcome_us[first] - year.event_us[first] == (2 + 227) * 60_000_000
    assert year.late[first] == 0


def test_weather_is_joined_by_airport_and_hour(year: Flights) -> None:
    assert np.isnan(year.features["temp"]).mean() < 0.01
    january, july = year.months(1, 1), year.months(7, 7)
    assert np.nanmean(july.features["temp"]) - np.nanmean(january.features["temp"]) > 40
