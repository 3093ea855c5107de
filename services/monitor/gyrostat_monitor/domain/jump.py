"""The `jump` check: a feature's mean moves between neighbouring ticks by far more than the reference's ever did. That
is
how a feed that switches its unit looks (°F to °C), and how weather never does.

Read tick by tick as the watermark passes. A jump stays active until the feature jumps back or returns to its old level;
while one feature jumps, companions in the same hours are named on weaker evidence. Features that are mostly one value
(rain:
none) have no level to jump from and are left to the other checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gyrostat_common.profile import Between, Numeric, Profile
from gyrostat_monitor.domain.findings import Statistic
from gyrostat_monitor.domain.policy import HOUR_S

MIN_ROWS = 20
MOSTLY_ONE_VALUE = 0.5
BACK = 0.25
"""A level within this share of the jump's size from the old one counts as back …"""
BACK_TICKS = 24
"""… when it stays there for so many ticks; a feed that is repaired jumps back at once."""
# Farthest distance of the compared ticks → (root mean squares, largest reference changes) for a jump, for a companion.
STRONG = {1: (10.0, 1.33), 2: (8.0, 1.4), 12: (5.5, 1.7)}
COMPANION = {1: (5.0, 1.05), 2: (4.0, 1.05), 12: (3.5, 1.05)}
SHORT = {1: 10.0, 2: 10.0, 12: 2.0}
"""Over the square root of the number of reference changes, added to what a jump must be of the largest one."""
TOGETHER = 2
"""Ticks within which a companion may move."""


@dataclass(frozen=True)
class Level:
    """Mean of a feature over one tick's rows."""

    tick_us: int
    mean: float


@dataclass(frozen=True)
class Jump:
    """An active jump. `level` is the mean before it, `size` how far the mean moved."""

    since_us: int
    level: float
    size: float
    ratio: float
    """Size over the reference's root mean square change."""
    certain: bool = False
    """Enough on its own; a companion is not."""
    near: int = 0
    """Ticks in a row near the old level."""


@dataclass(frozen=True)
class JumpState:
    """What is remembered between ticks: recent levels and active jumps, by feature."""

    recent: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    active: Mapping[str, Jump] = field(default_factory=dict)
    weak: Mapping[str, Jump] = field(default_factory=dict)
    """Moves too small to be a jump alone; they count when another feature jumps within the same few ticks."""


def advance(state: JumpState, profile: Profile, tick_us: int, means: Mapping[str, float], tick_s: int) -> JumpState:
    """The state after one closed tick. `means` feature → mean over the tick's rows; leave out features with too few."""
    width = TOGETHER * tick_s * 1_000_000
    recent, active = dict(state.recent), dict(state.active)
    weak = {n: j for n, j in state.weak.items() if tick_us - j.since_us < width}
    returned: list[str] = []
    for name, mean, feature in _watched(means, profile):
        history = recent.get(name, ())
        recent[name] = (*history, Level(tick_us, mean))[-3:]
        jump, certain = _moved(feature, history, Level(tick_us, mean), tick_s)
        if name in active:
            active[name] = _nearer(active[name], mean)
            if jump is not None and _undoes(jump, active[name]):
                returned.append(name)
        elif jump is not None and certain:
            active[name] = jump
        elif jump is not None and (name not in weak or weak[name].ratio < jump.ratio):
            weak[name] = jump
    if active and all(j.near >= BACK_TICKS for j in active.values()):
        returned = sorted(active)
    for name in returned:
        _let_go(name, active, recent, weak, width)
    if any(tick_us - j.since_us < width for j in active.values()):
        for name, jump in weak.items():
            active.setdefault(name, jump)
        weak = {}
    return JumpState(recent, active, weak)


def _watched(means: Mapping[str, float], profile: Profile) -> Iterator[tuple[str, float, Numeric]]:
    """Features that can jump: numbers that are not mostly one value."""
    for name, mean in sorted(means.items()):
        feature = profile.feature(name)
        if isinstance(feature, Numeric) and feature.mode_share < MOSTLY_ONE_VALUE:
            yield name, mean, feature


def _let_go(
    name: str, active: dict[str, Jump], recent: dict[str, tuple[Level, ...]], weak: dict[str, Jump], width: int
) -> None:
    """A feature is back, and with it those that had jumped at the same time: one repair mends the whole feed."""
    if name not in active:
        return
    gone = active[name]
    for other in [
        n for n, j in active.items() if n == name or (gone.certain and abs(j.since_us - gone.since_us) < width)
    ]:
        del active[other]
        recent[other] = ()
        weak.pop(other, None)


def _nearer(active: Jump, mean: float) -> Jump:
    near = abs(mean - active.level) <= BACK * abs(active.size)
    return replace(active, near=active.near + 1 if near else 0)


def _undoes(jump: Jump, active: Jump) -> bool:
    """Whether it goes the other way by a comparable size."""
    return jump.size * active.size < 0 and abs(jump.size) >= 0.5 * abs(active.size)


def _moved(feature: Numeric, history: tuple[Level, ...], now: Level, tick_s: int) -> tuple[Jump | None, bool]:
    """The largest move against the last levels, measured in what the reference does over that distance; and whether it
    is enough on its own."""
    best: Jump | None = None
    certain = False
    for before in history:
        distance = (now.tick_us - before.tick_us) // (tick_s * 1_000_000)
        usual = _usual(feature, distance, tick_s)
        if usual is None or usual.change_rms <= 0:
            continue
        size = now.mean - before.mean
        ratio, largest = abs(size) / usual.change_rms, abs(size) / max(usual.change_max, 1e-12)
        strong, companion = STRONG[usual.lag], COMPANION[usual.lag]
        # A short reference has not seen the largest natural change yet.
        is_certain = ratio >= strong[0] and largest >= strong[1] + SHORT[usual.lag] / usual.changes**0.5
        if not is_certain and not (ratio >= companion[0] and largest >= companion[1]):
            continue
        if best is None or (is_certain, ratio) > (certain, best.ratio):
            best, certain = Jump(now.tick_us, before.mean, size, ratio, is_certain), is_certain
    return best, certain


def _usual(feature: Numeric, distance: int, tick_s: int) -> Between | None:
    """What the reference knows of changes over that many ticks (hours)."""
    if tick_s != HOUR_S or distance < 1:
        return None
    lag = 1 if distance == 1 else 2 if distance == 2 else 12
    known = [b for b in feature.between if b.period_s == HOUR_S and b.lag == lag and distance <= lag]
    return known[0] if known and known[0].changes >= 10 else None


def statistics(state: JumpState, profile: Profile) -> tuple[Statistic, ...]:
    """Evidence of the active jumps, largest first."""
    out = []
    for name, jump in state.active.items():
        feature = profile.feature(name)
        sd = feature.sd if isinstance(feature, Numeric) and feature.sd else 1.0
        now = jump.level + jump.size
        text = f"{name} jumped {jump.level:.3g} → {now:.3g}, {jump.ratio:.0f} x its usual change"
        importance = feature.importance if feature else 0.0
        out.append(Statistic(name, "jump_sd", jump.size / sd, float("nan"), True, jump.level, now, importance, text))
    return tuple(sorted(out, key=lambda s: (-abs(s.value), s.scalar)))
