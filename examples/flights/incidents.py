"""The two incidents, declared beforehand: a feed that changes its unit, and a release that should not have been.

Both are things that happen to the system from outside. What Gyrostat makes of them is its own affair; `findings` looks.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from flights.year import CATEGORIES, Flights

FAHRENHEIT_INPUTS: Final = ("temp", "dewp")
# What the careless version does not look at: the time of day is the strongest input there is.
IGNORED_INPUTS: Final = ("sched_minute", "carrier", "dest", "weekday")


@dataclass(frozen=True)
class Incidents:
    """When they happen, in event time; None: not at all."""

    celsius_from: datetime | None
    celsius_to: datetime | None
    release_at: datetime | None

    @classmethod
    def planned(cls, last_month: int, celsius: date | None = None, release: date | None = None) -> "Incidents":
        """The defaults: Celsius from 9 to 23 November, the release on 8 October, where the replay gets that far."""
        celsius = celsius or (date(2013, 11, 9) if last_month >= 11 else None)
        release = release or (date(2013, 10, 8) if last_month >= 10 else None)
        start = _midnight(celsius) if celsius else None
        return cls(start, start + timedelta(days=14) if start else None, _midnight(release) if release else None)

    @classmethod
    def none(cls) -> "Incidents":
        """An uneventful year."""
        return cls(None, None, None)

    def on_the_feed(self, flights: Flights) -> Flights:
        """The flights as the weather feed delivers them: in Celsius for two weeks."""
        if self.celsius_from is None or self.celsius_to is None:
            return flights
        wrong = (flights.event_us >= _us(self.celsius_from)) & (flights.event_us < _us(self.celsius_to))
        features = dict(flights.features)
        for name in FAHRENHEIT_INPUTS:
            values = features[name]
            features[name] = np.where(wrong, (values - 32) / 1.8, values).astype(np.float32)
        return replace(flights, features=features)


def careless(flights: Flights) -> Flights:
    """The rows as the careless version learns from them: four inputs say nothing, so its graph ignores them."""
    features = dict(flights.features)
    for name in IGNORED_INPUTS:
        values = features[name]
        blank = "" if name in CATEGORIES else np.float32(0)
        features[name] = np.full(len(values), blank, dtype=values.dtype)
    return replace(flights, features=features)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _us(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)
