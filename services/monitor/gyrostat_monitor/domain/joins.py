"""The join of outcomes with predictions: what an answer contributes, and what changes when its outcome does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from gyrostat_common.profile import row_loss
from gyrostat_monitor.domain.frames import ANSWER, SHADOW, row_id
from gyrostat_monitor.domain.judge import Pairs, difference_bin
from gyrostat_monitor.domain.outcomes import Outcome
from gyrostat_monitor.domain.policy import Policy
from gyrostat_monitor.domain.quality import Labelled, QualitySums, grouped_sums

Key = tuple[bytes, int]
"""Prediction id and row."""
ROLES = {0: ANSWER, 1: SHADOW, 2: "pinned"}


@dataclass(frozen=True)
class Label:
    """What an answer was counted with."""

    value: float
    weight: float
    lag_s: float


@dataclass(frozen=True)
class Answer:
    """One version's answer to one row, as the join keeps it. role 2 = a caller pinned the version: kept, not
    counted.
    """

    key: Key
    version: int
    role: int
    event_us: int
    score: float
    vector: tuple[float, ...] | None = None
    counted: Label | None = None

    def with_label(self, label: Label | None) -> Answer:
        """The same answer, counted with another label. Three times as fast as `replace`."""
        return Answer(self.key, self.version, self.role, self.event_us, self.score, self.vector, label)


@dataclass(frozen=True)
class Recount:
    """What follows from new answers or outcomes."""

    answers: tuple[Answer, ...]
    """Answers whose label changed, with the new one."""
    uniform: frozenset[Key]
    """Predictions all of whose answers have the same label now."""
    quality: dict[tuple[int, str, int], list[tuple[QualitySums, int]]]
    """(version, role, tick start µs) → sums with their sign."""
    pairs: dict[int, Pairs]
    """Tick start → change of the histogram of the open roll-out."""


@dataclass(frozen=True)
class Pairing:
    """Which two versions are paired, from which event time, on which scale."""

    candidate: int
    baseline: int
    started_us: int
    scale: float = 1.0


def label_of(outcome: Outcome | None, event_us: int, horizon_s: int) -> Label | None:
    """The label that an outcome gives an answer; None when there is none or it came after the label horizon."""
    if outcome is None or outcome.observed_us > event_us + horizon_s * 1_000_000:
        return None
    return Label(outcome.value, outcome.weight or 1.0, (outcome.observed_us - event_us) / 1e6)


def recount(answers: Sequence[tuple[Answer, Outcome | None]], policy: Policy, pairing: Pairing | None) -> Recount:
    """`answers` every answer to the predictions concerned, with the winning outcome of each."""
    tick_us = policy.tick_s * 1_000_000
    changed: list[Answer] = []
    moves: dict[tuple[int, str, int], list[tuple[Answer, Label, int]]] = {}
    before: dict[Key, dict[int, Answer]] = {}
    after: dict[Key, dict[int, Answer]] = {}
    labels: dict[Key, set[Label | None]] = {}
    for answer, outcome in answers:
        label = label_of(outcome, answer.event_us, policy.horizon_s)
        labels.setdefault(answer.key, set()).add(label)
        now = answer if label == answer.counted else answer.with_label(label)
        if pairing is not None and answer.role != 2:
            before.setdefault(answer.key, {})[answer.version] = answer
            after.setdefault(answer.key, {})[answer.version] = now
        if now is answer:
            continue
        changed.append(now)
        if answer.role == 2:
            continue
        place = (answer.version, ROLES[answer.role], answer.event_us // tick_us * tick_us)
        for old, sign in ((answer.counted, -1), (label, 1)):
            if old is not None:
                moves.setdefault(place, []).append((answer, old, sign))
    quality = _sums(policy, moves)
    touched = {a.key for a in changed}
    pairs: dict[int, Pairs] = {}
    if pairing is not None:
        for key in touched:
            for rows, sign in ((before.get(key, {}), -1), (after.get(key, {}), 1)):
                _pair(pairs, rows, sign, pairing, policy, tick_us)
    uniform = frozenset(key for key, found in labels.items() if len(found) == 1)
    return Recount(tuple(changed), uniform, quality, {t: p for t, p in pairs.items() if p.bins})


def _sums(
    policy: Policy, moves: dict[tuple[int, str, int], list[tuple[Answer, Label, int]]]
) -> dict[tuple[int, str, int], list[tuple[QualitySums, int]]]:
    """Place → what leaves it and what comes to it."""
    places = sorted(moves)
    rows: list[Labelled] = []
    groups: list[int] = []
    for index, place in enumerate(places):
        for a, label, sign in moves[place]:
            rows.append(Labelled(row_id(*a.key), a.score, a.vector, label.value, label.weight, label.lag_s))
            groups.append(2 * index + (sign > 0))
    sums = grouped_sums(policy.task, policy.threshold, rows, groups, 2 * len(places))
    out = {}
    for index, place in enumerate(places):
        both = ((sums[2 * index], -1), (sums[2 * index + 1], 1))
        out[place] = [(found, sign) for found, sign in both if found.outcomes]
    return out


def _pair(
    pairs: dict[int, Pairs], rows: dict[int, Answer], sign: int, pairing: Pairing, policy: Policy, tick_us: int
) -> None:
    bin_ = paired_bin(rows, pairing, policy)
    if bin_ is not None:
        tick = rows[pairing.candidate].event_us // tick_us * tick_us
        pairs[tick] = pairs.get(tick, Pairs()).plus(Pairs({bin_: sign}))


def paired_bin(rows: dict[int, Answer], pairing: Pairing, policy: Policy) -> int | None:
    """Bin of the paired difference of one prediction; None while it is no evidence."""
    a, b = rows.get(pairing.candidate), rows.get(pairing.baseline)
    if a is None or b is None or a.counted is None or a.event_us < pairing.started_us:
        return None
    if not (isfinite(a.score) and isfinite(b.score)):
        return None
    candidate, baseline = (row_loss(policy.task, r.score, r.vector, a.counted.value) for r in (a, b))
    return difference_bin(candidate, baseline, pairing.scale)
