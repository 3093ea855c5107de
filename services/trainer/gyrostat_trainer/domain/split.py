"""Where the rows for fitting end and the rows for proving begin: always in time, never at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gyrostat_trainer.domain.errors import TooFewRows

FEWEST_HELD_OUT = 500
FEWEST_FIT = 500


@dataclass(frozen=True)
class Split:
    """Event times in microseconds: fit before `fit_until_us`, prove from `proof_from_us`; between them the embargo."""

    fit_until_us: int
    proof_from_us: int
    unseen_by_champion: bool

    def fit_mask(self, times_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return times_us < self.fit_until_us

    def proof_mask(self, times_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return times_us >= self.proof_from_us


def split(times_us: NDArray[np.int64], share: float, lag_s: int, champion_saw_until_us: int | None) -> Split:
    """Rolling origin: the most recent `share` of the rows proves, the rows before it less the label lag are fitted.

    Rows that the champion was fitted on are no evidence against it, so the proof starts after the last of them when
    enough rows are left; otherwise the split says that the champion had seen some (`unseen_by_champion` false), which
    favours the champion. TooFewRows when either side would be too small. `times_us` must be sorted.
    """
    n = len(times_us)
    if n < FEWEST_HELD_OUT + FEWEST_FIT:
        raise TooFewRows(f"{n} rows cannot be split into {FEWEST_FIT} to fit and {FEWEST_HELD_OUT} to prove on")
    position = min(max(int(n * (1 - share)), FEWEST_FIT), n - FEWEST_HELD_OUT)
    proof_from = int(times_us[position])
    unseen = True
    if champion_saw_until_us is not None and champion_saw_until_us >= proof_from:
        later = champion_saw_until_us + 1
        unseen = int((times_us >= later).sum()) >= FEWEST_HELD_OUT
        proof_from = later if unseen else proof_from
    fit_until = proof_from - lag_s * 1_000_000
    if int((times_us < fit_until).sum()) < FEWEST_FIT:
        raise TooFewRows(
            f"fewer than {FEWEST_FIT} rows are older than the held-out ones less the label lag of {lag_s} s"
        )
    return Split(fit_until, proof_from, unseen)
