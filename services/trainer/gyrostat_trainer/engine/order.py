"""What the worker asks of the evaluation, which runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What is to be evaluated.

    Paths are absolute. `evaluated` was fitted without the held-out rows, `registered` may not be.
    """

    rows: str
    fit_until_us: int
    proof_from_us: int
    unseen_by_champion: bool
    evaluated: str
    registered: str
    parity: str
    champion: str
    task: str
    threshold: float
    score_output: str
    slices: tuple[str, ...]
    answers: int
    labelled: int
    seed: int = 0
