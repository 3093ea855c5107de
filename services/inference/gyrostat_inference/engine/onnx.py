"""Opens graphs for the service: first in a trial process, then here, warm, off the event loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gyrostat_common import telemetry
from gyrostat_inference.domain.batching import Trial
from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
from gyrostat_inference.domain.live import Scorer
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits, limit_memory
from gyrostat_inference.engine.trying import TrialProcess

log = telemetry.get_logger("inference")


class OnnxEngine:
    """ONNX Runtime on the CPU; no run is longer than `limits` say, and all graphs have `memory_bytes` together."""

    def __init__(self, limits: RunLimits, memory_bytes: int, trials: TrialProcess) -> None:
        self._limits, self._memory_bytes, self._trials = limits, memory_bytes, trials
        limit_memory(memory_bytes)

    async def try_out(self, path: Path, opening: Opening, warm_up: WarmUp) -> Trial:
        """The graph as a process of its own saw it. Raises ModelRefused, also for a crash and for hanging."""
        asked = {
            "path": str(path),
            "opening": asdict(opening),
            "warm_up": asdict(warm_up),
            "longest_s": self._limits.longest_s,
            "memory_bytes": self._memory_bytes,
        }
        return _verdict(await self._trials.said(asked))

    async def open(self, name: str, path: Path, opening: Opening, warm_up: WarmUp) -> Scorer:
        """The graph, open and warm; a line of the log says how. Raises ModelRefused."""

        def opened() -> Graph:
            graph = Graph(name, path, opening, self._limits)
            graph.warm(warm_up)
            return graph

        try:
            graph = await asyncio.to_thread(opened)
        except ScoringFailed as error:
            raise ModelRefused(str(error)) from error
        log.info("graph_opened", version=name, **graph.facts)
        return graph


def _verdict(said: Mapping[str, Any]) -> Trial:
    if "refused" in said:
        raise ModelRefused(said["refused"])
    inputs, outputs = said["signature"]["inputs"], said["signature"]["outputs"]
    return Trial(Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs))), said["alone"])


def _spec(fields: dict[str, Any]) -> TensorSpec:
    return TensorSpec(fields["name"], fields["datatype"], tuple(fields["shape"]))
