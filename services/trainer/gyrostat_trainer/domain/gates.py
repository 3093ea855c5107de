"""The numbers of each gate. Here they are measured; whether they pass is the registry's to say.

A number that could not be measured is left out rather than made up, and `not_measured` says why (a first version has no
champion to be compared with): the registry refuses a version whose number is missing without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gyrostat_trainer.domain.losses import (
    Floats,
    Ints,
    auc,
    blocks,
    calibration_error,
    hard_labels,
    holm,
    mcnemar_p,
    mean_difference,
    scalar_scores,
)
from gyrostat_trainer.domain.runs import Gate

FEWEST_SLICE_ROWS = 200
# A slice is guarded against being worse than the champion by more than this mean loss.
SLICE_MARGIN = 0.01
NO_CHAMPION = "there is no champion to be compared with"


@dataclass(frozen=True)
class Scored:
    """One model on the held-out rows: scores [n] or [n, classes], and the loss of each row [n]."""

    scores: Floats
    losses: Floats


@dataclass(frozen=True)
class Proof:
    """Held-out rows with both models on them; `champion` None when there is none, or when `blind` says why it cannot
    be asked.
    """

    task: str
    labels: Floats
    event_times_us: Ints
    candidate: Scored
    champion: Scored | None
    threshold: float
    slices: dict[str, NDArray[np.str_]]
    blind: str = ""

    def alone(self, gate: str, numbers: dict[str, float]) -> Gate:
        """A gate without a comparison. Not to be able to ask a champion is no excuse: its thresholds refuse."""
        return Gate(gate, numbers, reason=self.blind, not_measured="" if self.blind else NO_CHAMPION)


def quality(proof: Proof, seed: int = 0) -> Gate:
    """Loss of both on the same rows, and the paired difference (candidate minus champion) with its 95 % limits."""
    loss = proof.candidate.losses
    numbers = {"rows": float(len(loss)), "loss": float(loss.mean())}
    if proof.task == "binary":
        numbers["auc"] = auc(scalar_scores(proof.task, proof.candidate.scores), proof.labels)
    if proof.champion is None:
        return proof.alone("quality", _finite(numbers))
    theirs = proof.champion.losses
    block = blocks(proof.event_times_us)
    difference = mean_difference(loss - theirs, block, seed=seed)
    numbers |= {
        "champion_loss": float(theirs.mean()),
        "loss_delta": difference.mean,
        "loss_delta_lower": difference.lower,
        "loss_delta_upper": difference.upper,
        "blocks": float(difference.blocks),
    }
    if proof.task == "binary":
        numbers["champion_auc"] = auc(scalar_scores(proof.task, proof.champion.scores), proof.labels)
    if proof.task != "regression":
        ours = hard_labels(proof.task, proof.candidate.scores, proof.threshold) == proof.labels
        champions = hard_labels(proof.task, proof.champion.scores, proof.threshold) == proof.labels
        numbers |= {"accuracy": float(ours.mean()), "champion_accuracy": float(champions.mean())}
        numbers["mcnemar_p"] = mcnemar_p(ours, champions)
    text = f"loss {loss.mean():.4f} against the champion's {theirs.mean():.4f} on {len(loss):,} rows"
    return Gate("quality", _finite(numbers), reason=text)


def slices(proof: Proof, seed: int = 0) -> Gate:
    """Non-inferiority on every guarded slice.

    How many are worse than the champion by more than the margin, after Holm.
    """
    if proof.champion is None:
        return proof.alone("slices", {})
    difference = proof.candidate.losses - proof.champion.losses
    block = blocks(proof.event_times_us)
    found: list[tuple[str, float, float]] = []
    for name, values in proof.slices.items():
        for value in np.unique(values):
            rows = values == value
            if int(rows.sum()) >= FEWEST_SLICE_ROWS:
                found.append(
                    (f"{name}={value}", float(difference[rows].mean()), _harm_p(difference[rows], block[rows]))
                )
    if not found:
        why = f"no guarded slice has {FEWEST_SLICE_ROWS} held-out rows" if proof.slices else "no slices are guarded"
        return Gate("slices", {}, not_measured=why)
    adjusted = holm([p for _, _, p in found])
    harmed = [name for (name, _, _), p in zip(found, adjusted, strict=True) if p < 0.05]
    worst = max(found, key=lambda item: item[1])
    numbers = {
        "slices": float(len(found)),
        "harmed": float(len(harmed)),
        "worst_loss_delta": worst[1],
        "least_p": min(adjusted),
    }
    text = f"worst is {worst[0]}" + (f"; harmed: {', '.join(harmed[:5])}" if harmed else "")
    return Gate("slices", numbers, reason=text)


def _harm_p(difference: Floats, block: Ints) -> float:
    """One-sided p that the mean difference is at most the margin, by a t-test on block means."""
    _, numbers = np.unique(block, return_inverse=True)
    rows = np.bincount(numbers)
    means = np.bincount(numbers, weights=difference) / rows
    if len(means) < 3 or means.std() == 0:
        return 1.0
    t = (means.mean() - SLICE_MARGIN) / (means.std(ddof=1) / np.sqrt(len(means)))
    return float(special.stdtr(len(means) - 1, -t))


def calibration(proof: Proof) -> Gate:
    """Expected calibration error, and the mean score against the label rate; of a binary model."""
    if proof.task != "binary":
        return Gate("calibration", {}, not_measured=f"calibration of a {proof.task} model is not measured")
    scores = scalar_scores(proof.task, proof.candidate.scores)
    numbers = {
        "ece": calibration_error(scores, proof.labels),
        "mean_score": float(scores.mean()),
        "label_rate": float(proof.labels.mean()),
    }
    if proof.champion is not None:
        numbers["champion_ece"] = calibration_error(scalar_scores(proof.task, proof.champion.scores), proof.labels)
    return Gate("calibration", numbers)


def parity(task: str, native: Floats, served: Floats, threshold: float) -> Gate:
    """Largest difference between the trained model's score and the exported graph's, and the labels that flip."""
    gap = np.abs(native - served)
    gap = np.where(np.isnan(native) & np.isnan(served), 0.0, np.where(np.isnan(gap), np.inf, gap))
    largest = float(gap.max()) if gap.size else 0.0
    if task == "regression":
        scale = max(1.0, float(np.abs(native[np.isfinite(native)]).max(initial=0.0)))
        largest, flips = largest / scale, 0
    else:
        flips = int((hard_labels(task, native, threshold) != hard_labels(task, served, threshold)).sum())
    numbers = {"rows": float(len(native)), "max_difference": min(largest, 1e308), "label_flips": float(flips)}
    return Gate("parity", numbers, reason=f"trained model against served graph on {len(native):,} rows")


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items() if np.isfinite(value)}
