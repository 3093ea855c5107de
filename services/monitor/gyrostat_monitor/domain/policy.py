"""What a model's spec says about watching and judging it, with the defaults filled in. Seconds are event time."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

DAY_S = 86_400
PLAIN, DIGEST, NOT_KEPT = "plain", "digest", "not kept"
HOUR_S = 3_600


@dataclass(frozen=True)
class Policy:
    """Windows, tests, labels."""

    task: str = "binary"
    score_output: str = ""
    entity_input: str = ""
    entity_kept: str = PLAIN
    """What predictions keep of an entity by the sensitivity of its input: PLAIN, DIGEST or NOT_KEPT."""
    owner: str = ""
    window_s: int = DAY_S
    min_window_rows: int = 1_000
    lateness_s: int = 300
    fdr: float = 0.01
    effect_floor: float = 0.2
    loss_floor: float = 0.05
    confirm_windows: int = 2
    horizon_s: int = 7 * DAY_S
    lag_s: int = 0
    threshold: float = 0.5

    @property
    def tick_s(self) -> int:
        """Width of a tick, the smallest unit of additive state: an hour, or what divides both hour and window."""
        return gcd(HOUR_S, self.window_s)

    @property
    def contract_s(self) -> int:
        """Width of the sub-windows of the data contract: a quarter of a day, so that broken units show within a day."""
        return 6 * HOUR_S if self.window_s % (6 * HOUR_S) == 0 else self.window_s

    @property
    def contract_rows(self) -> int:
        """Fewest rows of a sub-window that is worth checking."""
        return max(1, min(50, self.min_window_rows))


@dataclass(frozen=True)
class RolloutPolicy:
    """When a verdict may be given."""

    min_paired_rows: int = 500
    min_exposure: int = 200
    max_step_s: int = 2 * DAY_S
    loss_margin: float = 0.005
    alpha: float = 0.01
    guard_s: int = 14 * DAY_S
