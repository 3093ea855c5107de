"""Builders for inference's domain: plans, loaded versions with a scripted scorer, calls."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain.calls import Call
from gyrostat_inference.domain.errors import ScoringFailed
from gyrostat_inference.domain.live import LiveModel, LoadedVersion, live_model
from gyrostat_inference.domain.plan import (
    ArtifactRef,
    Plan,
    PlannedVersion,
    ServingSpec,
    Shadow,
    Signature,
    TensorSpec,
)
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import Tensor

ONE_IN_ONE_OUT = Signature((TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("y", "FP32", (-1, 1)),))
KEY = b"k" * 32


def a_version(number: int, signature: Signature = ONE_IN_ONE_OUT, aliases: Sequence[str] = ()) -> PlannedVersion:
    return PlannedVersion(number, ArtifactRef(f"{number:064x}"), signature, None, tuple(aliases))


def a_shadow(number: int, **fields: Any) -> Shadow:
    return Shadow(a_version(number), **fields)


def a_plan(champion: int | None = 4, revision: int = 7, spec: ServingSpec | None = None, **fields: Any) -> Plan:
    """A plan for "flights"; versions by number."""
    for role in ("canary", "fallback"):
        if isinstance(fields.get(role), int):
            fields[role] = a_version(fields[role])
    planned = None if champion is None else a_version(champion)
    return Plan("production", "flights", revision, planned, spec=spec or ServingSpec(), **fields)


class Scripted:
    """A scorer whose `y` is its number; it raises while `broken`."""

    def __init__(self, number: int, signature: Signature = ONE_IN_ONE_OUT) -> None:
        self.number, self.signature = number, signature
        self.facts: dict[str, str] = {}
        self.broken = False
        self.runs = 0

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        self.runs += 1
        if self.broken:
            raise ScoringFailed(f"flights:{self.number} could not score these inputs")
        rows = len(next(iter(inputs.values())))
        return [np.full((rows, 1), self.number, np.float32)]


def loaded(planned: PlannedVersion, keeping: Keeping | None = None) -> LoadedVersion:
    keeping = keeping or Keeping({}, {}, KEY)
    return LoadedVersion("flights", planned, Scripted(planned.number, planned.signature), keeping, alone="")


def live(plan: Plan, without: Sequence[int] = ()) -> LiveModel:
    """The plan with its versions loaded, except some."""
    keeping = Keeping(plan.spec.sensitivity, {}, KEY)
    return live_model(
        plan,
        {number: loaded(planned, keeping) for number, planned in plan.versions().items() if number not in without},
        dict.fromkeys(without, "its file is damaged"),
    )


def a_tensor(rows: int) -> Tensor:
    values = np.arange(rows, dtype=np.float32).reshape(rows, 1)
    return Tensor("FP32", values, values.tobytes())


def a_call(rows: int = 2, version: str = "", **fields: Any) -> Call:
    given: dict[str, Any] = {
        "model": "flights",
        "version": version,
        "request_id": "",
        "prediction_id": uuid.UUID(int=1).bytes,
        "entity": "",
        "event_time_us": None,
        "arrival_us": 1_000_000_000,
        "tensors": {"x": a_tensor(rows)},
    }
    return Call(**(given | fields))
