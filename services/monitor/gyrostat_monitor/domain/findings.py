"""What a window says about one kind of change: bad, calm, or neither, with the evidence a person needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of change that this monitor knows."""

    DATA = "data"
    PREDICTION = "prediction"
    PERFORMANCE = "performance"
    DATA_QUALITY = "data_quality"


@dataclass(frozen=True)
class Statistic:
    """One number about one scalar in a window."""

    scalar: str
    statistic: str
    value: float
    p_adjusted: float = float("nan")
    significant: bool = False
    reference: float = float("nan")
    current: float = float("nan")
    importance: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """One window's verdict for one kind. Neither bad nor calm: in between, or too little to say."""

    kind: Kind
    bad: bool
    calm: bool
    effect: float = 0.0
    severity: float = 0.0
    """0 to 1: effect times the share of importance touched."""
    evidence: tuple[Statistic, ...] = ()
    summary: str = ""
    since_us: int | None = None
    """Event time at which it began, when that is known better than by the window."""
