"""The part of a ModelSpec that training needs, frozen into each run when it is decided."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from gyrostat_trainer.domain.errors import ParametersInvalid

DAY_S = 86_400
PERFORMANCE, CONCEPT, DATA_QUALITY = "performance", "concept", "data_quality"


@dataclass(frozen=True)
class TrainingSpec:
    """When and how a model is retrained; defaults are the documented ones of the contract."""

    on: tuple[str, ...] = (PERFORMANCE, CONCEPT)
    cooldown_s: int = 14 * DAY_S
    min_rows: int = 2_000
    pipeline: str = "tabular"
    parameters_json: str = ""
    dataset: str = ""
    holdout_share: float = 0.2
    max_runs_per_30_days: int = 10
    task: str = "binary"
    score_output: str = ""
    slices: tuple[str, ...] = ()
    horizon_s: int = 7 * DAY_S
    lag_s: int = 0
    lateness_s: int = 300
    decision_threshold: float = 0.5
    # Inputs that the archive does not hold as they were: hashed, bucketed or dropped before they were logged.
    private: tuple[str, ...] = ()
    revision: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        fields: dict[str, Any] = json.loads(text)
        whole: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in fields.items()}
        return cls(**whole)


def merged_parameters(*texts: str) -> dict[str, Any]:
    """JSON objects merged left to right; an empty text is an empty object. ParametersInvalid for anything else."""
    merged: dict[str, Any] = {}
    for text in texts:
        if not text.strip():
            continue
        try:
            given = json.loads(text)
        except json.JSONDecodeError as exc:
            raise ParametersInvalid(f"parameters are not JSON: {exc}") from exc
        if not isinstance(given, dict):
            raise ParametersInvalid("parameters must be a JSON object")
        merged.update(given)
    return merged
