"""A run that is wanted: whose rows, by which version, for whom. Made by `predict` and `shadows`, ended by `turns`."""

from typing import Protocol

from gyrostat_inference.domain import batching
from gyrostat_inference.domain.calls import Output
from gyrostat_inference.domain.engine_settings import EngineSettings
from gyrostat_inference.domain.live import LoadedVersion
from gyrostat_inference.domain.tensors import Tensors, raw_bytes


class Caller(Protocol):
    """Who waits for an answer."""

    @property
    def gone(self) -> bool:
        """Whether nobody reads it any more. Asked from other threads too."""
        ...

    @property
    def deadline(self) -> float | None:
        """Loop time by which it must be there."""
        ...


class Run:
    """Rows of one request that one version is to score. `ended` is called once; not at all when the caller is gone."""

    __slots__ = ("bytes", "caller", "cost_ns", "engine", "queued_ns", "rows", "size", "tensors", "version", "waited_ns")

    def __init__(
        self,
        version: LoadedVersion,
        engine: EngineSettings,
        tensors: Tensors,
        rows: int,
        caller: Caller | None = None,
    ) -> None:
        self.version, self.engine, self.tensors, self.rows = version, engine, tensors, rows
        self.size = batching.elements(version.signature, tensors) if version.open_shapes else rows
        self.caller = caller
        self.bytes = raw_bytes(tensors)
        self.cost_ns = 0.0
        self.queued_ns = self.waited_ns = 0

    def ended(self, outcome: list[Output] | Exception) -> None:
        """All outputs in the graph's order, or why there are none."""
        raise NotImplementedError

    @property
    def apart(self) -> bool:
        """Whether it must be run by itself: the trial says so, what was seen since, or the spec."""
        counters = self.version.counters
        return bool(self.version.alone) or counters.slow or counters.mixes or self.engine.batching.off

    def group(self) -> object:
        """Runs of one model go together where this is equal."""
        version = self.version
        if version.open_shapes and not version.alone:
            return version, batching.row_shapes(version.signature, self.tensors)
        return version

    def past(self, now: float) -> bool:
        """Whether its deadline is over."""
        caller = self.caller
        return caller is not None and caller.deadline is not None and caller.deadline <= now

    def unwanted(self, now: float) -> bool:
        """Whether nobody waits for it any more."""
        caller = self.caller
        return caller is not None and (caller.gone or self.past(now))
