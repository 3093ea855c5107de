"""How graphs are opened, warmed, batched and queued: EngineSettings of the ModelSpec, with every default filled in.

Made by `events.plans` from a plan, read by `engine` (open), `usecases.load` (warm) and `usecases.predict` (the rest).
"""

from dataclasses import dataclass, replace
from enum import IntEnum


class Optimization(IntEnum):
    """How far ONNX Runtime rewrites a graph; the numbers are the contract's."""

    DISABLED = 1
    BASIC = 2
    EXTENDED = 3
    ALL = 4


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is made with: two versions that differ in it need a session each."""

    intra_op_threads: int = 1
    inter_op_threads: int = 1
    optimization: Optimization = Optimization.ALL
    providers: tuple[str, ...] = ()
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What runs before the first caller: so many rows of the samples (JSON), over and over, else of zeros."""

    rows: tuple[int, ...] = ()
    samples_json: str = ""


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests that arrive together are run. A delay of 0 makes nobody wait."""

    off: bool = False
    max_delay_us: int = 0
    max_batch_rows: int = 256


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait for a run; beyond it a request is refused."""

    max_rows: int = 16_384
    max_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """All of it for one model."""

    opening: Opening = Opening()
    warm_up: WarmUp = WarmUp()
    batching: Batching = Batching()
    queue: QueueLimits = QueueLimits()


def settled(settings: EngineSettings) -> EngineSettings:
    """What is really done. Deterministic means: one thread of each kind, on the CPU, nothing that depends on the
    processor in how the graph is rewritten, and every request a run of its own, whatever the other settings say.
    """
    if not settings.opening.deterministic:
        return settings
    return replace(
        settings,
        opening=Opening(optimization=Optimization.BASIC, deterministic=True),
        batching=replace(settings.batching, off=True, max_delay_us=0),
    )
