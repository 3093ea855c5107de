"""What a run of a graph may take: time, for all runs of the process by one thread that looks, and memory, of all graphs
together. A model is untrusted input, and one that never ends must not take the others with it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import onnxruntime as ort

LOOK_S = 0.05
_SAME_AS_REQUESTED = 1


class LimitedRun:
    """A run that somebody looks at. `options` are for ONNX Runtime; they say afterwards whether it was stopped."""

    __slots__ = ("ends_at", "gone", "options")

    def __init__(self, ends_at: float, gone: Callable[[], bool] | None, options: ort.RunOptions) -> None:
        self.ends_at, self.gone, self.options = ends_at, gone, options


class RunLimits:
    """Stops runs between two nodes of the graph; a single node runs to its end. While entered, somebody looks. Seconds
    are those of `now`: the clock, or the processor's time where nobody waits.
    """

    def __init__(self, longest_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self.longest_s, self._now = longest_s, now
        self._runs: dict[int, LimitedRun] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stop long runs", daemon=True)

    def __enter__(self) -> "RunLimits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        for run in list(self._runs.values()):
            run.options.terminate = True

    def begin(self, within_s: float | None, gone: Callable[[], bool] | None) -> LimitedRun:
        """A run that is stopped after `within_s` (None: the longest), or when nobody waits any more; until `end`. Not a
        context manager: that would cost small runs twice as much.
        """
        options = ort.RunOptions()
        if within_s is None:  # nobody is held up: what it took of the memory goes back
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        limit_s = self.longest_s if within_s is None else min(within_s, self.longest_s)
        run = LimitedRun(self._now() + limit_s, gone, options)
        self._runs[id(run)] = run
        return run

    def end(self, run: LimitedRun) -> None:
        """It is over."""
        del self._runs[id(run)]

    def _look(self) -> None:
        while not self._closed.wait(LOOK_S):
            now = self._now()
            for run in list(self._runs.values()):
                if now >= run.ends_at or (run.gone is not None and run.gone()):
                    run.options.terminate = True


def limit_memory(most_bytes: int) -> None:
    """Weights and values of all graphs of this process together; a run that asks for more fails. Only the first call
    counts.
    """
    arena = ort.OrtArenaCfg({"max_mem": most_bytes, "arena_extend_strategy": _SAME_AS_REQUESTED})
    kind, place = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    with suppress(RuntimeError):  # there is one already
        ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, place), arena)
