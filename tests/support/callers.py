"""Callers of a Predict whose graphs work row by row, and who know which answer is their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_common import oip
from gyrostat_inference.domain.calls import Answer
from gyrostat_inference.domain.engine_settings import Batching, EngineSettings
from gyrostat_inference.domain.errors import RunTooLong, ScoringFailed
from gyrostat_inference.domain.live import LiveModel, LoadedVersion, live_model
from gyrostat_inference.domain.plan import Plan, ServingSpec, Signature, TensorSpec
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import Tensor
from support.live_models import KEY, a_call
from support.predicting import Predicting

OPEN = Signature(
    (TensorSpec("x", "FP32", (-1, -1)), TensorSpec("t", "BYTES", (-1, 1))),
    (TensorSpec("y", "FP32", (-1, -1)), TensorSpec("u", "BYTES", (-1, 1))),
)
ENDLESS, REFUSED, BROKEN = -1.0, -2.0, -3.0
"""Values of `x` at which a graph does not end on the loop, refuses, or fails in a way that nobody foresaw."""


class Rowwise:
    """`y` = `x` + the number of the version, `u` = `t` and the number. Remembers how many rows ran together."""

    facts: dict[str, str]

    def __init__(self, number: int, signature: Signature = OPEN) -> None:
        self.number, self.signature, self.facts = number, signature, {}
        self.batches: list[int] = []

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        x, texts = inputs["x"], inputs["t"]
        self.batches.append(len(x))
        if within_s is not None and (x == ENDLESS).any():
            raise RunTooLong("it does not come to an end")
        if (x == REFUSED).any():
            raise ScoringFailed("one of the rows cannot be scored")
        if (x == BROKEN).any():
            raise RuntimeError("nobody expected this")
        said = np.array([[f"{text} by {self.number}"] for text in texts[:, 0].tolist()], dtype=object)
        return [x + np.float32(self.number), said]


def a_model(name: str, plan: Plan, alone: str = "") -> LiveModel:
    keeping = Keeping({}, {}, KEY)
    loaded = {
        number: LoadedVersion(name, planned, Rowwise(number), keeping, alone)
        for number, planned in plan.versions().items()
    }
    return live_model(replace(plan, model=name), loaded, {})


def batches(live: LiveModel, number: int = 4) -> list[int]:
    return live.loaded[number].scorer.batches  # type: ignore[attr-defined, no-any-return]


def engine(**batching: Any) -> ServingSpec:
    return ServingSpec(engine=EngineSettings(batching=Batching(**batching)))


def tensors(x: npt.NDArray[np.float32], mark: str) -> dict[str, Tensor]:
    texts = np.array([[f"{mark}/{row}"] for row in range(len(x))], dtype=object)
    return {"x": Tensor("FP32", x, x.tobytes()), "t": Tensor("BYTES", texts, oip.to_raw(texts))}


@dataclass(eq=False)
class Waiting:
    """A caller, and what it was told, in order."""

    number: int
    rows: int = 1
    columns: int = 1
    poison: float | None = None
    model: str = "flights"
    version: str = ""
    gone: bool = False
    deadline: float | None = None
    told: list[Answer | Exception] = field(default_factory=list)

    def x(self) -> npt.NDArray[np.float32]:
        x = np.full((self.rows, self.columns), 1000 + 10 * self.number, np.float32) + np.arange(self.rows)[:, None]
        if self.poison is not None:
            x[-1, -1] = self.poison
        return x.astype(np.float32)

    def ask(self, bench: Predicting) -> None:
        call = a_call(
            model=self.model,
            version=self.version,
            request_id=str(self.number),
            prediction_id=self.number.to_bytes(16, "big"),
            tensors=tensors(self.x(), f"c{self.number}"),
        )
        bench.predict.submit(call, self.told.append, self)

    def is_own(self, answer: Answer) -> bool:
        """Whether the answer is what one version makes of this caller's rows and of nothing else."""
        y, u = answer.outputs
        texts = [[f"c{self.number}/{row} by {answer.version}"] for row in range(self.rows)]
        return (
            y.values.tolist() == (self.x() + np.float32(answer.version)).tolist()
            and y.raw == (self.x() + np.float32(answer.version)).tobytes()
            and u.values.tolist() == texts
            and u.raw == oip.to_raw(np.array(texts, dtype=object))
        )


async def turn() -> None:
    """Lets everything run that is due now, and what that makes due."""
    for _ in range(3):
        await asyncio.sleep(0)


SIZE = 2
"""Of a row of one number and one text."""
